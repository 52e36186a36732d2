"""MLflow as a view of the records. Only this room imports mlflow."""

from bench.tracking.mirror import Mirror, Tracker, Unavailable, available, connect, fetch, loose_entries, sync_study

__all__ = ["Mirror", "Tracker", "Unavailable", "available", "connect", "fetch", "loose_entries", "sync_study"]
