"""The program that measures at scale: made-up homes that can be read, and what is made of its numbers."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from bench.errors import BenchError, MissingData
from bench.perf import rates, scale, synthetic
from bench.perf.scale import Line
from bench.records.folder import Folder
from bench.records.home import Home
from bench.records.run_record import Cost, Provenance, RunRecord
from bench.scheduler.job_queue import JobQueue
from bench.scheduler.storages import open_storage
from reports.build import listed
from reports.load.records import load
from tests.records import run_record

LINES = [Line("report", "one", "100 runs", 12.345, "s", 0.5), Line("runs", "two", "9", 12345.6, "/s", 1.25)]


def texts(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


def test_a_made_up_home_is_read_as_a_real_one(tmp_path: Path) -> None:
    count = synthetic.make(tmp_path / "home", scale.GOLDEN, 200)
    folder = Folder(tmp_path / "home")
    assert 150 <= count <= 250
    assert sorted(shape.name for shape in synthetic.SHAPES) == folder.studies()
    for name in folder.studies():
        study = load(folder, name)
        assert "made up" in study.declared.question
        assert {"trial", "final", "baseline"} == set(study.entries["kind"])
        assert set(study.entries["state"]) <= {"finished", "failed"}
        assert {len(study.curves(run)) for run in study.entries["run"]} == {synthetic.EPOCHS}
        assert len({table.name: len(table.frame) for table in listed(study, [])}) >= 6


def test_made_up_homes_are_the_same(tmp_path: Path) -> None:
    for name in ("one", "other"):
        synthetic.make(tmp_path / name, scale.GOLDEN, 40)
    assert texts(tmp_path / "one") == texts(tmp_path / "other")


def test_made_up_runs_need_real_ones(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="made of real ones"):
        synthetic.make(tmp_path / "home", tmp_path, 10)


@pytest.mark.slow
def test_each_lease_of_several_workers_is_counted_once(tmp_path: Path) -> None:
    journal = tmp_path / "empty.journal"
    assert rates.fill(None, journal, 30) == 30
    found = rates.queue_rate(None, journal, 2, seconds=1)
    reported = JobQueue(open_storage(None, journal), "empty", rates.MORE).ended()
    assert found.trials > 0
    assert sorted(reported) == list(range(30 + found.trials))
    assert min(found.rate, found.work, found.opening) > 0


def test_what_trials_took_besides_training() -> None:
    def record(finished: float, trained: float, status: str = "finished") -> RunRecord:
        where, cost = Provenance(finished=finished), Cost(steps=1, train_seconds=trained)
        return run_record(status=status, provenance=where, cost=cost)

    records = [record(10, 1), record(13, 1), record(12, 5, "failed"), record(18, 2), record(20, 0)]
    found = rates.besides(records)
    assert (found.median, found.trials) == (2.0, 3)
    with pytest.raises(BenchError, match="three runs or more"):
        rates.besides(records[:2])


def test_the_table_is_aligned_and_the_csv_is_whole() -> None:
    lines = scale.table(LINES).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["report", "one", "100 runs", "12.3 s", "0.5"]
    assert "12,346 /s" in lines[3]
    rows = list(csv.DictReader(io.StringIO(scale.as_csv(LINES, {"cpu": "some"}))))
    assert [(row["value"], row["cpu"]) for row in rows] == [("12.345", "some"), ("12345.6", "some")]


@pytest.mark.parametrize("words", [{"parts": "reports"}, {"stores": "redis"}, {"runs": "ten"}, {"workers": "0"}])
def test_what_cannot_be_measured_is_refused(words: dict[str, str]) -> None:
    given = {"parts": "report", "runs": "10", "entries": "10", "trials": "10", "workers": "1", "stores": "file"} | words
    with pytest.raises(BenchError):
        scale.scale(**given, engines="local", empty=4, seconds=1.0, records=scale.GOLDEN)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of mlflow's own imports
def test_measured_for_real(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"runs": "30", "entries": "30", "trials": "20", "workers": "2", "stores": "file", "engines": "local"}
    scale.scale("report,mlflow,asking", **sizes, empty=4, seconds=1.0, records=scale.GOLDEN)
    rows = list(csv.DictReader((Home().path / "scale.csv").open()))
    found = {row["what"]: float(row["value"]) for row in rows}
    assert {"report", "page", "MLflow, runs", "lease and report", "a worker's first look"} <= set(found)
    assert all(value > 0 for value in found.values())
    assert any(row["size"] == "20 reported before, 2 workers" for row in rows)
    assert (Home().path / "scale.md").read_text() in capsys.readouterr().out
