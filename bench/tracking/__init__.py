"""MLflow as a view of the records: one experiment for each study, one parent run, one nested run for each trial and each final.

Nothing here touches training. While a study goes on, a `Mirror` syncs it again and again in a thread; after an
outage `bench sync`
syncs it once; records of another machine are shown in the same way. Only this room imports mlflow, and only through its client
(no fluent globals, no autolog).
"""

from bench.tracking.connection import Unavailable, available, connect
from bench.tracking.mirror import Mirror
from bench.tracking.sync import fetch, loose_entries, sync_study
from bench.tracking.tracker import Tracker

__all__ = ["Mirror", "Tracker", "Unavailable", "available", "connect", "fetch", "loose_entries", "sync_study"]
