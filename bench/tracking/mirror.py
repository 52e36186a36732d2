"""MLflow as a view of the records: one experiment per study, one parent run, one nested run per trial and per final.

Nothing here touches training. `sync_study` compares a study's folder with the server and adds what is missing: while a
study goes on a `Mirror` calls it again and again in a thread, after an outage `bench sync` calls it once, and another
machine's records are shown in the same way. It can be called any number of times: runs are found by tags, each metric
carries the time it was measured at, and the tag `bench.synced` says up to which step the curves are there.

Only this room imports mlflow, and only through its client (no fluent globals, no autolog).
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bench.environment import mask_secrets
from bench.errors import BenchError
from bench.records.files import read_json
from bench.records.folder import Folder, entry_name
from bench.records.home import Home
from bench.records.run_folder import RunFolder
from bench.records.watcher import ENDED, LOOSE, EntryWatcher

METRICS, OTHERS = 800, 100  # metrics, and parameters or tags, to a request: of all together MLflow takes 1000
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # the UI then opens on runs, not on traces
FETCHED = ("record.json", "curves.parquet", "speed.json", "entry.json")
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "running": "RUNNING", "killed": "KILLED"}


class Unavailable(BenchError):
    """The tracking server does not answer; records are complete without it."""


def available() -> bool:
    """Whether mlflow is installed."""
    from importlib.util import find_spec

    return find_spec("mlflow") is not None


def connect(home: Home) -> Any:
    """A client of the store: a server's, or the SQLite file, which is created here once."""
    if not available():
        raise Unavailable("tracking needs mlflow, which is not installed; `pip install mlflow`, then `bench sync`")
    uri = home.tracking_uri
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # it would print the server's password for every run
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # after the import, which sets them to talk
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        if uri.startswith("sqlite:///"):
            _create(Path(uri.removeprefix("sqlite:///")))
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:
        raise Unavailable(
            f"the tracking store must answer, but {mask_secrets(uri)} does not ({type(error).__name__}); everything is "
            "recorded all the same: start the server and `bench sync`"
        ) from None
    return client


def _create(path: Path) -> None:
    """Make the SQLite store if there is none: under another name until it is whole, since MLflow cannot mend one whose
    making was cut off; by one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        from mlflow import MlflowClient

        unfinished = path.with_name(f".{path.name}.tmp")
        unfinished.unlink(missing_ok=True)
        MlflowClient(tracking_uri=f"sqlite:///{unfinished}").search_experiments(max_results=1)
        unfinished.replace(path)


@dataclass
class Tracker:
    """One study's view in MLflow, kept up with its folder."""

    home: Home
    study: str
    client: Any
    experiment: str = ""
    parent: str = ""
    known: dict[str, _Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find or create the experiment and the parent run, and read what is there."""
        self.looker = EntryWatcher(self.home.records, self.study)
        found = self.client.get_experiment_by_name(self.study)
        if found is None:
            folder = (self.home.artifacts / self.study).as_uri() if self.home.artifacts else None
            self.experiment = self.client.create_experiment(self.study, artifact_location=folder, tags=_KIND)
        else:
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            self.experiment = found.experiment_id
        for run in self._search():
            tags, params = run.data.tags, frozenset(run.data.params)
            step, state = int(tags.get("bench.synced", -1)), tags.get("bench.state", "")
            seen = _Seen(run.info.run_id, run.info.status, step, state, tags.get("bench.speed", ""), params)
            if tags.get("bench.role") == "study":
                self.parent, self.known[""] = run.info.run_id, seen
            elif "bench.entry" in tags:
                self.known[tags["bench.entry"]] = seen

    def _search(self) -> Iterator[Any]:
        token = None
        while True:
            page = self.client.search_runs([self.experiment], max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def sync(self, *, over: bool = False) -> int:
        """Bring the server up to date; returns how many runs were touched. ``over``: nothing is being computed any more,
        so what has not ended is marked as killed.

        What has ended, and was synced once, is looked at again only when its entry is written again, or all is ``over``
        (its speed may have been measured since).
        """
        self._sync_parent(over=over)
        entries = self.looker.look(closely=over)
        looked = {entry_name(entry) for entry in entries}
        touched = sum(self._sync_entry(entry, over=over) for entry in entries)
        if over:
            left = [(self.known[name], run) for name, run in self.looker.names.items() if name not in looked]
            touched += sum(self._sync_speed(seen, run) for seen, run in left)
        self._mark_former(self.looker.names)
        return touched

    def _mark_former(self, present: Mapping[str, str]) -> None:
        """Finals that more trials have replaced stay in the view, but are fetched no more."""
        for name, seen in self.known.items():
            if name.startswith("final-") and name not in present and seen.state != "former":
                self.client.set_tag(seen.run_id, "bench.state", "former")
                seen.state = "former"

    def _sync_parent(self, *, over: bool) -> None:
        declaration = {} if self.study == LOOSE else self.home.records.study(self.study)
        if not self.parent:
            tags = {
                "bench.role": "study",
                "bench.study": self.study,
                "mlflow.note.content": declaration.get("question", ""),
            }
            run = self.client.create_run(self.experiment, run_name=self.study, tags=tags)
            self.parent, self.known[""] = run.info.run_id, _Seen(run.info.run_id, "RUNNING", 0, "")
        state, seen = declaration.get("state", "running"), self.known[""]
        status = "FINISHED" if state == "finished" or self.study == LOOSE else "KILLED" if over else "RUNNING"
        if declaration and seen.state != state:
            keys = ("kind", "task", "trials", "sampler", "seed", "select", "protocol")
            self._log(seen, params={k: declaration[k] for k in keys})
            self._artifact(self.parent, "study.json", declaration)
            seen.state = state
        self._set_status(seen, status)

    def _sync_entry(self, entry: Mapping[str, Any], *, over: bool) -> bool:
        name, folder = entry_name(dict(entry)), RunFolder(self.home.records.run(entry["run"]))
        seen, ended = self.known.get(name), entry["state"] in ENDED
        if seen is not None and ended and (seen.state, seen.status) == (entry["state"], _STATUS[entry["state"]]):
            return self._sync_speed(seen, entry["run"])
        record = folder.record() if entry["state"] != "running" else None
        seen = self.known[name] = seen or self._create(name, entry)
        path = folder.path / "run.json"
        params = _flat(read_json(path)["run"]) if not seen.params and path.exists() else {}
        rows, metrics, tags = self._curves(seen, entry["run"])
        if record is not None and ended:
            params |= _flat(record["run"])
            metrics += _results(record)
            tags |= _told(record)
        elif entry["state"] == "failed":
            tags["bench.reason"] = str(entry["reason"])[:5000]
        self._log(seen, metrics, params, tags)
        seen.step = rows or seen.step
        state = entry["state"] if ended else "killed" if over and not folder.busy else "running"
        if ended:
            self._files(seen.run_id, entry, record, folder)
            self._sync_speed(seen, entry["run"])
        self._set_status(seen, _STATUS[state], (record or {}).get("provenance", {}).get("finished"))
        if ended:  # last: what has it is complete
            self.client.set_tag(seen.run_id, "bench.state", state)
            seen.params = frozenset()
        seen.state = state
        return True

    def _create(self, name: str, entry: Mapping[str, Any]) -> _Seen:
        tags = {
            "mlflow.parentRunId": self.parent,
            "bench.entry": name,
            "bench.run": entry["run"],
            "bench.role": entry["kind"],
            "bench.cell": entry["cell"],
            "bench.number": str(entry["number"]),
            "bench.study": self.study,
        }
        run = self.client.create_run(self.experiment, run_name=name, tags=tags)
        return _Seen(run.info.run_id, "RUNNING", -1, "")

    def _curves(self, seen: _Seen, run_id: str) -> tuple[int, list[Any], dict[str, str]]:
        """What is new of a run's curves: the last step (0: nothing is), the numbers, and the tag that says so."""
        curves = self.home.records.curves(run_id)
        rows = curves[curves["step"] > seen.step] if len(curves) else curves
        if not len(rows):
            return 0, [], {}
        from mlflow.entities import Metric

        metrics = [
            Metric(f"curve/{str(key).replace('/', '_')}", float(value), int(row["time"]), int(row["step"]))
            for row in rows.to_dict("records")
            for key, value in row.items()
            if key not in ("step", "phase", "time") and _finite(value)
        ]
        step = int(rows["step"].max())
        return step, metrics, {"bench.synced": str(step)}

    def _log(
        self,
        seen: _Seen,
        metrics: Sequence[Any] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add numbers, parameters that are not there yet (once written they cannot be changed) and tags, in as few requests
        as may be; tags go with the last, as they say what is there."""
        from mlflow.entities import Param, RunTag

        missing = [Param(k, str(v)[:6000]) for k, v in (params or {}).items() if k not in seen.params]
        last = [RunTag(k, v) for k, v in (tags or {}).items()]
        count = max(math.ceil(len(metrics) / METRICS), math.ceil(len(missing) / OTHERS), bool(last))
        for i in range(count):
            some = metrics[i * METRICS : (i + 1) * METRICS]
            few = missing[i * OTHERS : (i + 1) * OTHERS]
            self.client.log_batch(seen.run_id, metrics=some, params=few, tags=last if i == count - 1 else [])
        seen.params |= {param.key for param in missing}

    def _set_status(self, seen: _Seen, status: str, finished: float | None = None) -> None:
        if seen.status == status:
            return
        if status == "RUNNING":  # taken up again
            self.client.update_run(seen.run_id, status=status)
        else:
            when = int(finished * 1000) if finished else None
            self.client.set_terminated(seen.run_id, status=status, end_time=when)
        seen.status = status

    def _files(
        self, run_id: str, entry: Mapping[str, Any], record: Mapping[str, Any] | None, folder: RunFolder
    ) -> None:
        """The entry; the record itself, its curves, its layers; weights for finals only."""
        names = ["record.json", "curves.parquet"] if record is not None else []
        if record is not None and entry["kind"] in ("final", "baseline", "run"):
            names += ["plan.json", "model.safetensors"]
        with tempfile.TemporaryDirectory() as temporary:
            for name in names:
                if (folder.path / name).exists():
                    os.symlink(folder.path / name, Path(temporary) / name)
            if record is not None and record["layers"]:
                layers = pd.DataFrame(record["layers"])
                layers.to_csv(Path(temporary) / "layers.csv", index=False)
            (Path(temporary) / "entry.json").write_text(_json(entry))
            self.client.log_artifacts(run_id, temporary)

    def _sync_speed(self, seen: _Seen, run_id: str) -> bool:
        """What was measured of the model's speed, once for each time that it was measured."""
        found = self.home.records.speed(run_id)
        rows = [row for row in (found or {"rows": []})["rows"] if row["model"] == "pruned"]
        stamp = f"{len(rows)} {max((row['when'] for row in rows), default=0):.3f}"
        if found is None or seen.speed == stamp:
            return False
        from mlflow.entities import Metric

        names = [f"speed/{row['precision']}_{row['mode']}_batch_{row['wanted']}" for row in rows]
        metrics = [
            Metric(f"{name}_{key}", row[key], int(1000 * row["when"]), 0)
            for name, row in zip(names, rows, strict=True)
            for key in ("ratio", "median_ms")
        ]
        self.client.log_batch(seen.run_id, metrics=metrics)
        self._artifact(seen.run_id, "speed.json", found)
        self.client.set_tag(seen.run_id, "bench.speed", stamp)
        seen.speed = stamp
        return True

    def _artifact(self, run_id: str, name: str, value: Mapping[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            (Path(temporary) / name).write_text(_json(value))
            self.client.log_artifacts(run_id, temporary)

    def report(self, folder: Path) -> None:
        """The study's report among the parent's artifacts."""
        self.client.log_artifacts(self.parent, str(folder), artifact_path="report")


@dataclass
class _Seen:
    """What the server has of an entry: its run, status, the last step of its curves, the state and the speed last synced, and
    the names of its parameters."""

    run_id: str
    status: str
    step: int
    state: str
    speed: str = ""
    params: frozenset[str] = frozenset()


def loose_entries(records: Folder) -> list[dict[str, Any]]:
    """Runs that no study lists (made by `bench run`), as entries."""
    return EntryWatcher(records, LOOSE).look()


def sync_study(home: Home, study: str, *, over: bool = True) -> int:
    """Bring one study (or `LOOSE`, the runs outside studies) up to date in MLflow, once."""
    return Tracker(home, study, connect(home)).sync(over=over)


class Mirror:
    """Keeps MLflow up with a study's folder from a thread, off the training; an outage costs a warning and nothing else."""

    def __init__(self, home: Home, study: str, warn: Callable[[str], None], *, every: float = 3.0) -> None:
        self.home, self.study, self.warn, self.every = home, study, warn, every
        self._tracker: Tracker | None = None
        self._done, self._warned = threading.Event(), False
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.catch_up()

    def catch_up(self) -> None:
        """Sync once more, after the thread has ended."""
        self._warned = False
        self._once(over=True)

    def _loop(self) -> None:
        while not self._done.wait(self.every):
            self._once(over=False)

    def _once(self, *, over: bool) -> None:
        try:
            if self.study != LOOSE and not (self.home.path / "studies" / self.study / "study.json").exists():
                return
            self._tracker = self._tracker or Tracker(self.home, self.study, connect(self.home))
            self._tracker.sync(over=over)
        except Exception as error:
            self._tracker = None
            if not self._warned:
                text = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
                self.warn(f"MLflow is behind ({mask_secrets(text.splitlines()[0])}); `bench sync` catches it up")
            self._warned = True

    def report(self, folder: Path) -> None:
        """Upload the report, if the server is there."""
        if self._tracker is not None:
            try:
                self._tracker.report(folder)
            except Exception as error:
                self.warn(f"the report was not uploaded to MLflow ({type(error).__name__}); it lies in {folder}")

    @property
    def where(self) -> tuple[str, str] | None:
        """Experiment and parent run, once known."""
        return (self._tracker.experiment, self._tracker.parent) if self._tracker else None


def fetch(home: Home, into: Path, studies: Sequence[str] = ()) -> list[str]:
    """Download the records of studies from an MLflow store into a folder of the usual layout; returns their names."""
    client, names = connect(home), []
    for experiment in client.search_experiments():
        if studies and experiment.name not in studies:
            continue
        tracker = Tracker(home, experiment.name, client) if _is_ours(client, experiment) else None
        if tracker is None or not tracker.parent or experiment.name == LOOSE:
            continue
        folder = Folder(into)
        _download(client, tracker.parent, ("study.json",), into / "studies" / experiment.name)
        for run in tracker._search():
            if run.data.tags.get("bench.state") in ("finished", "failed"):
                target = folder.run(run.data.tags["bench.run"])
                _download(client, run.info.run_id, FETCHED, target)
                folder.write_entry(experiment.name, read_json(target / "entry.json"))
                (target / "entry.json").unlink()
        names.append(experiment.name)
    return names


def _is_ours(client: Any, experiment: Any) -> bool:
    found = client.search_runs([experiment.experiment_id], filter_string="tags.`bench.role` = 'study'", max_results=1)
    return bool(found)


def _download(client: Any, run_id: str, names: Sequence[str], into: Path) -> None:
    there = {artifact.path for artifact in client.list_artifacts(run_id)}
    into.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name in there:
            client.download_artifacts(run_id, name, str(into))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _numbers(prefix: str, values: Mapping[str, Any]) -> dict[str, float]:
    return {f"{prefix}/{k}": v for k, v in values.items() if isinstance(v, (int, float))}


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1) + "\n"


def _results(record: Mapping[str, Any]) -> list[Any]:
    """What a run came to, as MLflow's numbers."""
    from mlflow.entities import Metric

    when, step = int(record["provenance"].get("finished", 0) * 1000), int(record["cost"].get("steps", 0))
    numbers = {**_numbers("result", record["metrics"]), **_numbers("result/cost", record["cost"])}
    return [Metric(k, float(v), when, step) for k, v in numbers.items() if _finite(v)]


def _told(record: Mapping[str, Any]) -> dict[str, str]:
    """How a run ended and where it was computed, as tags."""
    where = record["provenance"]
    tags = {"bench.status": record["status"], "bench.commit": str(where.get("commit", ""))}
    tags |= {f"bench.version.{k}": str(v) for k, v in where.get("versions", {}).items()}
    tags |= {f"bench.hardware.{k}": str(v) for k, v in where.get("hardware", {}).items()}
    if record.get("label"):
        tags["bench.label"] = str(record["label"])
    if record["reason"]:
        tags["bench.reason"] = str(record["reason"])[:5000]
    return tags
