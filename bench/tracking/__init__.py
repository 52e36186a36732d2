"""MLflow as a view of the records: one experiment for each study, with a parent run and a nested run for each trial and final.

Nothing here affects training. While a study runs, a `Mirror` syncs it repeatedly in a thread; `bench sync` syncs it once, after
an outage or for records from another machine. Only this room imports mlflow, and only its client (no fluent globals, no
autolog).
"""

from bench.tracking.connection import Unavailable, available, connect
from bench.tracking.mirror import Mirror
from bench.tracking.sync import fetch, loose_entries, sync_study
from bench.tracking.tracker import Tracker

__all__ = ["Mirror", "Tracker", "Unavailable", "available", "connect", "fetch", "loose_entries", "sync_study"]
