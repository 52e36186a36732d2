"""Upload of records to MLflow, and download from MLflow to a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.records.folder import Folder
from bench.records.home import Home
from bench.records.reading import read
from bench.records.study_record import Entry
from bench.records.watcher import LOOSE, EntryWatcher
from bench.tracking.connection import connect
from bench.tracking.tracker import Tracker

FETCHED = ("record.json", "curves.parquet", "speed.json", "entry.json")


def loose_entries(records: Folder) -> list[Entry]:
    """Returns the runs that belong to no study (from `bench run`), as entries."""
    return EntryWatcher(records, LOOSE).look()


def sync_study(home: Home, study: str, *, over: bool = True) -> int:
    """Syncs one study, or `LOOSE` (the runs outside studies), to MLflow once; returns the number of updated runs."""
    return Tracker(home, study, connect(home)).sync(over=over)


def fetch(home: Home, into: Path, studies: Sequence[str] = ()) -> list[str]:
    """Downloads the records of studies (none named: all) from an MLflow store to a folder; returns the studies' names."""
    client, names = connect(home), []
    for experiment in client.search_experiments():
        if experiment.name == LOOSE or (studies and experiment.name not in studies):
            continue
        if not _is_ours(client, experiment):
            continue
        tracker = Tracker(home, experiment.name, client)
        if not tracker.parent:
            continue
        folder = Folder(into)
        _download(client, tracker.parent, ("study.json",), into / "studies" / experiment.name)
        for run in tracker.runs():
            if run.data.tags.get("bench.state") in ("finished", "failed"):
                target = folder.run(run.data.tags["bench.run"])
                _download(client, run.info.run_id, FETCHED, target)
                folder.write_entry(experiment.name, read(Entry, target / "entry.json"))
                (target / "entry.json").unlink()
        names.append(experiment.name)
    return names


def _is_ours(client: Any, experiment: Any) -> bool:
    """Returns whether an experiment is a study of this suite."""
    found = client.search_runs([experiment.experiment_id], filter_string="tags.`bench.role` = 'study'", max_results=1)
    return bool(found)


def _download(client: Any, run_id: str, names: Sequence[str], into: Path) -> None:
    there = {artifact.path for artifact in client.list_artifacts(run_id)}
    into.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name in there:
            client.download_artifacts(run_id, name, str(into))
