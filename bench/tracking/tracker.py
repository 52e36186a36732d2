"""One study in MLflow: its experiment, its parent run, and a nested run for each entry.

`Tracker.sync` compares the study's folder with the server and uploads what is missing. It is idempotent: runs are found by
their tags, each metric has the time of its measurement, and the tag `bench.synced` holds the last uploaded step of the curves.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bench.records.files import read_json
from bench.records.home import Home
from bench.records.part import Part
from bench.records.reading import to_text
from bench.records.run_folder import RunFolder
from bench.records.run_record import FAILED, RUNNING, RunRecord
from bench.records.speed_record import PRUNED
from bench.records.study_record import BASELINE, FINAL, LOOSE_RUN, Entry
from bench.records.watcher import LOOSE, EntryWatcher
from bench.tracking.values import finite, flat, results, tags_of

METRICS, OTHERS = 800, 100  # metrics, and parameters or tags, in one request; MLflow allows 1000 in all
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # the UI then opens on runs, not on traces
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "running": "RUNNING", "killed": "KILLED"}


@dataclass
class Known:
    """The server's data of an entry: run id and status, the last step of its curves, the state and the speed of the last sync,
    and the names of its parameters."""

    run_id: str
    status: str
    step: int
    state: str
    speed: str = ""
    params: frozenset[str] = frozenset()


@dataclass
class Tracker:
    """One study's view in MLflow."""

    home: Home
    study: str
    client: Any
    experiment: str = ""
    parent: str = ""
    known: dict[str, Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Finds or creates the experiment, and reads the runs that the server has."""
        self.watcher = EntryWatcher(self.home.records, self.study)
        found = self.client.get_experiment_by_name(self.study)
        if found is None:
            folder = None
            if self.home.artifacts:
                folder = (self.home.artifacts / self.study).as_uri()
            self.experiment = self.client.create_experiment(self.study, artifact_location=folder, tags=_KIND)
        else:
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            self.experiment = found.experiment_id
        for run in self.runs():
            tags, params = run.data.tags, frozenset(run.data.params)
            step, state = int(tags.get("bench.synced", -1)), tags.get("bench.state", "")
            seen = Known(run.info.run_id, run.info.status, step, state, tags.get("bench.speed", ""), params)
            if tags.get("bench.role") == "study":
                self.parent, self.known[""] = run.info.run_id, seen
            elif "bench.entry" in tags:
                self.known[tags["bench.entry"]] = seen

    def runs(self) -> Iterator[Any]:
        """Yields all runs of the experiment, page by page."""
        token = None
        while True:
            page = self.client.search_runs([self.experiment], max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def sync(self, *, over: bool = False) -> int:
        """Uploads what is missing on the server; returns the number of updated runs.

        ``over``: no process computes this study any more, so unfinished runs are marked as killed. Runs that have ended and
        are synced are read again only when their entry changes, or when the study is ``over`` (their speed may have been
        measured since).
        """
        self._sync_parent(over=over)
        entries = self.watcher.look(closely=over)
        looked = {entry.name for entry in entries}
        touched = sum(self._sync_entry(entry, over=over) for entry in entries)
        if over:
            left = [(self.known[name], run) for name, run in self.watcher.names.items() if name not in looked]
            touched += sum(self._sync_speed(seen, run) for seen, run in left)
        self._mark_former(self.watcher.names)
        return touched

    def _mark_former(self, present: Mapping[str, str]) -> None:
        """Marks finals that later trials have replaced; they stay in MLflow, but `fetch` skips them."""
        for name, seen in self.known.items():
            if name.startswith("final-") and name not in present and seen.state != "former":
                self.client.set_tag(seen.run_id, "bench.state", "former")
                seen.state = "former"

    def _sync_parent(self, *, over: bool) -> None:
        declared, question = None, ""
        if self.study != LOOSE:
            declared = self.home.records.study(self.study)
            question = declared.question
        if not self.parent:
            tags = {"bench.role": "study", "bench.study": self.study, "mlflow.note.content": question}
            run = self.client.create_run(self.experiment, run_name=self.study, tags=tags)
            self.parent, self.known[""] = run.info.run_id, Known(run.info.run_id, "RUNNING", 0, "")
        seen = self.known[""]
        if declared is not None and seen.state != declared.state:
            keys = ("kind", "task", "trials", "sampler", "seed", "select", "protocol")
            self._log(seen, params={key: getattr(declared, key) for key in keys})
            self._artifact(self.parent, "study.json", declared)
            seen.state = declared.state
        if declared is None or declared.finished:
            self._set_status(seen, "FINISHED")
        elif over:
            self._set_status(seen, "KILLED")
        else:
            self._set_status(seen, "RUNNING")

    def _sync_entry(self, entry: Entry, *, over: bool) -> bool:
        name, folder = entry.name, RunFolder(self.home.records.run(entry.run))
        seen, ended = self.known.get(name), entry.ended
        if seen is not None and ended and (seen.state, seen.status) == (entry.state, _STATUS[entry.state]):
            return self._sync_speed(seen, entry.run)
        record, finished, params = None, None, dict[str, Any]()
        if entry.state != RUNNING:
            record = folder.record()
        seen = self.known[name] = seen or self._create_run(name, entry)
        path = folder.path / "run.json"
        if not seen.params and path.exists():
            params = flat(read_json(path)["run"])
        rows, metrics, tags = self._curves(seen, entry.run)
        if record is not None:
            finished = record.provenance.finished
        if record is not None and ended:
            params |= flat(record.run.to_json())
            metrics += results(record)
            tags |= tags_of(record)
        elif entry.state == FAILED:
            tags["bench.reason"] = str(entry.reason)[:5000]
        self._log(seen, metrics, params, tags)
        seen.step = rows or seen.step
        state = RUNNING
        if ended:
            state = entry.state
        elif over and not folder.busy:
            state = "killed"
        if ended:
            self._files(seen.run_id, entry, record, folder)
            self._sync_speed(seen, entry.run)
        self._set_status(seen, _STATUS[state], finished)
        if ended:  # last, because this tag says that the run is complete
            self.client.set_tag(seen.run_id, "bench.state", state)
            seen.params = frozenset()
        seen.state = state
        return True

    def _create_run(self, name: str, entry: Entry) -> Known:
        tags = {
            "mlflow.parentRunId": self.parent,
            "bench.entry": name,
            "bench.run": entry.run,
            "bench.role": entry.kind,
            "bench.cell": entry.cell,
            "bench.number": str(entry.number),
            "bench.study": self.study,
        }
        run = self.client.create_run(self.experiment, run_name=name, tags=tags)
        return Known(run.info.run_id, "RUNNING", -1, "")

    def _curves(self, seen: Known, run_id: str) -> tuple[int, list[Any], dict[str, str]]:
        """Returns the new rows of a run's curves: the last step (0 for none), the metrics, and the tag of the last step."""
        rows = self.home.records.curves(run_id)
        if len(rows):
            rows = rows[rows["step"] > seen.step]
        if not len(rows):
            return 0, [], {}
        from mlflow.entities import Metric

        metrics = [
            Metric(f"curve/{str(key).replace('/', '_')}", float(value), int(row["time"]), int(row["step"]))
            for row in rows.to_dict("records")
            for key, value in row.items()
            if key not in ("step", "phase", "time") and finite(value)
        ]
        step = int(rows["step"].max())
        return step, metrics, {"bench.synced": str(step)}

    def _log(
        self,
        seen: Known,
        metrics: Sequence[Any] = (),
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Uploads metrics, tags and missing parameters (MLflow does not let a parameter change) in as few requests as possible.

        Tags go with the last request, because they say what was uploaded.
        """
        from mlflow.entities import Param, RunTag

        missing = [Param(k, str(v)[:6000]) for k, v in (params or {}).items() if k not in seen.params]
        last = [RunTag(k, v) for k, v in (tags or {}).items()]
        count = max(math.ceil(len(metrics) / METRICS), math.ceil(len(missing) / OTHERS), bool(last))
        for i in range(count):
            some = metrics[i * METRICS : (i + 1) * METRICS]
            few = missing[i * OTHERS : (i + 1) * OTHERS]
            tagged = list[Any]()
            if i == count - 1:
                tagged = last
            self.client.log_batch(seen.run_id, metrics=some, params=few, tags=tagged)
        seen.params |= {param.key for param in missing}

    def _set_status(self, seen: Known, status: str, finished: float | None = None) -> None:
        if seen.status == status:
            return
        if status == "RUNNING":  # resumed
            self.client.update_run(seen.run_id, status=status)
        elif finished:
            self.client.set_terminated(seen.run_id, status=status, end_time=int(finished * 1000))
        else:
            self.client.set_terminated(seen.run_id, status=status)
        seen.status = status

    def _files(self, run_id: str, entry: Entry, record: RunRecord | None, folder: RunFolder) -> None:
        """Uploads the entry, the record, its curves and layers; weights of finals only."""
        names = list[str]()
        if record is not None:
            names += ["record.json", "curves.parquet"]
        if record is not None and entry.kind in (FINAL, BASELINE, LOOSE_RUN):
            names += ["plan.json", "model.safetensors"]
        with tempfile.TemporaryDirectory() as temporary:
            for name in names:
                if (folder.path / name).exists():
                    os.symlink(folder.path / name, Path(temporary) / name)
            if record is not None and record.layers:
                layers = pd.DataFrame([layer.to_json() for layer in record.layers])
                layers.to_csv(Path(temporary) / "layers.csv", index=False)
            (Path(temporary) / "entry.json").write_text(to_text(entry))
            self.client.log_artifacts(run_id, temporary)

    def _sync_speed(self, seen: Known, run_id: str) -> bool:
        """Uploads the measured speed of the model if it is new; returns whether it was."""
        found = self.home.records.speed(run_id)
        if found is None:
            return False
        rows = [row for row in found.rows if row.model == PRUNED]
        stamp = f"{len(rows)} {max((row.when for row in rows), default=0):.3f}"
        if seen.speed == stamp:
            return False
        from mlflow.entities import Metric

        metrics = list[Metric]()
        for row in rows:
            name, when = f"speed/{row.precision}_{row.mode}_batch_{row.wanted}", int(1000 * row.when)
            metrics.append(Metric(f"{name}_ratio", row.ratio, when, 0))
            metrics.append(Metric(f"{name}_median_ms", row.median_ms, when, 0))
        self.client.log_batch(seen.run_id, metrics=metrics)
        self._artifact(seen.run_id, "speed.json", found)
        self.client.set_tag(seen.run_id, "bench.speed", stamp)
        seen.speed = stamp
        return True

    def _artifact(self, run_id: str, name: str, value: Part) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            (Path(temporary) / name).write_text(to_text(value))
            self.client.log_artifacts(run_id, temporary)

    def report(self, folder: Path) -> None:
        """Uploads the study's report to the artifacts of the parent run."""
        self.client.log_artifacts(self.parent, str(folder), artifact_path="report")
