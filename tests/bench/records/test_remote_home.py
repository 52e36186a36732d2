"""The remote: what is there for others at any moment, and what is taken from it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cli import doctor, main
from bench.errors import Corrupt
from bench.records import sharing
from bench.records.files import read_json, write_json
from bench.records.folder import Folder
from bench.records.home import Home
from bench.records.reading import to_text, write
from bench.records.remote import Away
from bench.records.remote_home import RemoteHome
from bench.records.run_folder import RunFolder, checked
from bench.records.study_record import Entry
from bench.run import new_run
from bench.training.execute import execute
from bench.training.loop import Event
from tests.bench.records.objects import s3
from tests.records import run_record, study_record
from tests.reports.exact import HOME as GOLDEN

TINY = ("model=test_resnet", "epochs=0.5", "batch=256", "image_size=32")
RUN, STUDY = "0123456789ab", "pareto-toy"


class Watched(RemoteHome):
    """A remote home that notes what it writes."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.written: list[str] = []

    def write(self, where: str, data: bytes) -> None:
        super().write(where, data)
        self.written.append(where.rpartition("/")[2])


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, s3(patch) as url:
        yield url


@pytest.fixture(params=["file", "memory", pytest.param("s3", marks=pytest.mark.slow)])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    if request.param == "s3":
        yield Watched(f"{request.getfixturevalue('lab')}/{tmp_path.name}")
        return
    (tmp_path / "store").mkdir()
    made = Watched(f"file://{tmp_path}/store" if request.param == "file" else "memory://lab/prefix")
    yield made
    if request.param == "memory":
        made.open().store.clear()


@pytest.fixture
def shared_folder(tmp_path: Path) -> str:
    (tmp_path / "store").mkdir()
    return f"file://{tmp_path}/store"


def home(tmp_path: Path, name: str) -> RunFolder:
    folder = tmp_path / name / "runs" / RUN
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "run.json", {"run": {"seed": 0}})
    return RunFolder(folder)


def step(folder: RunFolder, number: int) -> None:
    folder.append_row({"step": number, "val/top1": 50.0})
    folder.save_checkpoint(number, {"step": number})


def end(folder: RunFolder, status: str = "finished", **more: Any) -> None:
    (folder.path / "model.safetensors").write_bytes(b"weights")
    folder.close(run_record(RUN, status=status, **more))


def bench(*words: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    try:
        main.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_another_home_goes_on_from_the_newest_checkpoint(remote: Watched, tmp_path: Path) -> None:
    mine, yours = home(tmp_path, "a"), home(tmp_path, "b")
    for number in (1, 2):
        step(mine, number)
        assert remote.push_run(mine.path)
    assert remote.pull_run(tmp_path / "b", RUN)
    assert yours.load_checkpoint() == {"step": 2}
    assert yours.rows() == mine.rows()
    assert not remote.pull_run(tmp_path / "b", RUN)


def test_what_did_not_change_is_not_sent_again(remote: Watched, tmp_path: Path) -> None:
    mine = home(tmp_path, "a")
    step(mine, 1)
    remote.push_run(mine.path)
    assert not remote.push_run(mine.path)
    again = Watched(remote.url)  # another process
    assert not again.push_run(mine.path)
    step(mine, 2)
    again.push_run(mine.path)
    assert again.written == ["curves.jsonl", "checkpoint-000000002.pt"]


def test_two_checkpoints_are_kept_and_none_once_the_record_is_there(remote: Watched, tmp_path: Path) -> None:
    mine = home(tmp_path, "a")
    for number in range(4):
        step(mine, number)
        remote.push_run(mine.path)
    there = remote.sizes(f"runs/{RUN}")
    assert sorted(name for name in there if "checkpoint" in name) == [p.name for p in mine.checkpoints()]
    end(mine)
    assert not remote.has_record(RUN)
    remote.push_run(mine.path)
    assert remote.has_record(RUN)
    assert set(remote.sizes(f"runs/{RUN}")) == {"run.json", "curves.parquet", "model.safetensors", "record.json"}
    assert remote.written[-1] == "record.json"


def test_weights_come_where_they_are_asked_for(remote: Watched, tmp_path: Path) -> None:
    mine, yours = home(tmp_path, "a"), home(tmp_path, "b")
    step(yours, 1)
    end(mine)
    remote.push_run(mine.path)
    assert remote.pull_run(tmp_path / "b", RUN)
    assert sorted(p.name for p in yours.path.iterdir()) == ["record.json", "run.json"]  # and no checkpoint any more
    assert remote.pull_run(tmp_path / "b", RUN, weights=True)
    assert (yours.path / "model.safetensors").read_bytes() == b"weights"


def test_a_finished_record_stands_here_and_there(remote: Watched, tmp_path: Path) -> None:
    mine, yours = home(tmp_path, "a"), home(tmp_path, "b")
    end(mine, label="a")
    end(yours, label="another")
    remote.push_run(mine.path)
    assert not remote.pull_run(tmp_path / "b", RUN)
    assert not remote.push_run(yours.path)
    remote.pull_run(tmp_path / "c", RUN)
    assert [r.label for h in "abc" if (r := Folder(tmp_path / h).record(RUN)) is not None] == ["a", "another", "a"]


def test_a_finished_record_replaces_a_failed_one(remote: Watched, tmp_path: Path) -> None:
    mine, yours = home(tmp_path, "a"), home(tmp_path, "b")
    write(mine.path / "record.json", run_record(RUN, status="failed"))
    remote.push_run(mine.path)
    step(yours, 1)
    remote.push_run(yours.path)  # it is computed again
    assert "checkpoint-000000001.pt" in remote.sizes(f"runs/{RUN}")
    end(yours)
    remote.push_run(yours.path)
    assert remote.pull_run(tmp_path / "a", RUN)
    assert mine.record() == yours.record()


def test_who_is_behind_sends_nothing(remote: Watched, tmp_path: Path) -> None:
    ahead, behind = home(tmp_path, "a"), home(tmp_path, "b")
    for number in (5, 6):
        step(ahead, number)
        remote.push_run(ahead.path)
    before = remote.sizes(f"runs/{RUN}")
    step(behind, 1)
    assert not remote.push_run(behind.path)
    assert remote.sizes(f"runs/{RUN}") == before


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_broken_checkpoint_is_passed_over_for_the_one_before(remote: Watched, tmp_path: Path, damage: str) -> None:
    mine, yours = home(tmp_path, "a"), home(tmp_path, "b")
    for number in (1, 2):
        step(mine, number)
        remote.push_run(mine.path)
    content = bytearray(mine.checkpoints()[-1].read_bytes())
    content[len(content) // 2] ^= damage == "flip"
    remote.write(f"runs/{RUN}/checkpoint-000000002.pt", bytes(content[: -9 if damage == "cut" else None]))
    remote.pull_run(tmp_path / "b", RUN)
    assert yours.load_checkpoint() == {"step": 1}


def test_a_failed_write_leaves_the_old_file(shared_folder: str, tmp_path: Path) -> None:
    remote = RemoteHome(shared_folder)
    remote.write("runs/x/file", b"old")
    with pytest.raises(Away):
        remote.write("runs/x/file", "not bytes")  # type: ignore[arg-type]
    assert remote.read("runs/x/file") == b"old"
    assert os.listdir(tmp_path / "store/runs/x") == ["file"]


class Evil:
    """What a pickle can do to whoever loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def test_a_malicious_checkpoint_is_refused_in_one_line_and_never_executed(
    shared_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_REMOTE", shared_folder)
    run, theirs = new_run("dense", TINY), RunFolder(tmp_path / "theirs")
    theirs.path.mkdir()
    theirs.save_checkpoint(1, {"model": Evil()})  # with a right checksum
    data = theirs.checkpoints()[0].read_bytes()
    payload = checked(data)
    assert payload is not None
    torch.load(io.BytesIO(payload), weights_only=False)
    assert (tmp_path / "executed").is_dir()  # so dangerous it is
    (tmp_path / "executed").rmdir()
    RemoteHome(shared_folder).write(f"runs/{run.id}/checkpoint-000000001.pt", data)
    with pytest.raises(Corrupt, match="was not loaded") as caught:
        execute(run, Home())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_weights_of_another_record_are_refused(remote: Watched, tmp_path: Path) -> None:
    mine = home(tmp_path, "a")
    end(mine, weights_sha256="0" * 64)
    remote.push_run(mine.path)
    with pytest.raises(Corrupt, match="weights must be those of their record"):
        remote.pull_run(tmp_path / "b", RUN, weights=True)


def entry(number: int, run: str, state: str) -> Entry:
    return Entry("trial", "sap/toy", number, 0, run, state=state)


def test_a_study_is_pulled_with_its_runs_and_no_others(remote: Watched, tmp_path: Path) -> None:
    mine, yours = Folder(tmp_path / "a"), Folder(tmp_path / "b")
    end(home(tmp_path, "a"))
    Folder(tmp_path / "a").write_study(study_record(STUDY))
    mine.write_entry(STUDY, entry(0, RUN, "finished"))
    mine.write_entry(STUDY, entry(1, "../../outside", "finished"))
    remote.push_runs([mine.run(RUN)])
    remote.push_study(mine.path, STUDY)
    remote.write("outside/record.json", b'{"status": "finished"}')
    remote.write("runs/other/record.json", to_text(run_record("other")).encode())
    yours.write_entry(STUDY, entry(0, RUN, "running"))
    assert remote.pull(yours.path, [STUDY]) == 1
    assert [e.state for e in yours.entries(STUDY)] == ["finished", "finished"]
    assert yours.run_ids() == [RUN]
    assert not (tmp_path / "outside").exists()
    assert remote.pull(yours.path) == 1
    assert yours.run_ids() == [RUN, "other"]


def test_an_entry_that_has_ended_there_is_not_undone(remote: Watched, tmp_path: Path) -> None:
    records = Folder(tmp_path / "a")
    Folder(tmp_path / "a").write_study(study_record(STUDY))
    remote.push_entry(STUDY, entry(0, RUN, "finished"))
    records.write_entry(STUDY, entry(0, RUN, "running"))
    remote.push_study(records.path, STUDY)
    remote.pull(records.path)
    assert [e.state for e in records.entries(STUDY)] == ["finished"]
    remote.drop_entry(STUDY, entry(0, RUN, "finished"))
    assert not remote.sizes(f"studies/{STUDY}/entries")


def test_a_run_is_computed_once_and_its_children_find_it(shared_folder: str, tmp_path: Path) -> None:
    first, second, third = (replace(Home(), path=tmp_path / name, remote_url=shared_folder) for name in "abc")
    run = new_run("oneshot", (*TINY, "final=0.5", "when=0"))
    record = execute(run, first)
    assert execute(run, second) == record  # not even its times differ
    execute(new_run("dense", (*TINY, f"shape=run:{run.id}", "seed=1")), third)
    assert (third.records.run(run.id) / "model.safetensors").exists()


def test_a_store_that_goes_away_costs_no_record(
    shared_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sharing, "PATIENCE", 0.0)
    monkeypatch.setenv("BENCH_REMOTE", shared_folder)
    run, home = new_run("dense", TINY), Home()

    def unmount(event: Event) -> None:
        shutil.rmtree(tmp_path / "store", ignore_errors=True)

    with pytest.raises(Away, match=r"the record is complete in .* and `bench push` sends it later"):
        execute(run, home, observers=[unmount])
    assert home.records.record(run.id) is not None
    assert not (tmp_path / "store").exists()  # nothing was written where the disk should be
    (tmp_path / "store").mkdir()
    assert bench("push", monkeypatch=monkeypatch) == 0
    assert "1 of 1 runs" in capsys.readouterr().out
    assert RemoteHome(shared_folder).has_record(run.id)
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "other"))
    assert bench("pull", "--weights", monkeypatch=monkeypatch) == 0
    assert Home().records.record(run.id) == home.records.record(run.id)
    assert (Home().records.run(run.id) / "model.safetensors").exists()


def test_a_store_that_comes_back_is_waited_for(shared_folder: str, tmp_path: Path) -> None:
    tries = list[int]()

    def act() -> str:
        tries.append(1)
        if len(tries) == 1:
            (tmp_path / "store").rmdir()
        else:
            (tmp_path / "store").mkdir()
        return str(RemoteHome(shared_folder).folders("runs"))

    assert sharing.patiently(act) == "[]"
    assert len(tries) == 2


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nowhere://ada:s3cret@lab/x", "the URL of a remote must be one that fsspec can open"),
        ("file:///no/such/mount", "there is no /no/such/mount: mount it"),
        ("", "BENCH_REMOTE names the remote, but it is not set"),
    ],
)
def test_a_store_that_cannot_be_is_told_in_one_line(
    url: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCH_REMOTE", url)
    assert bench("pull", monkeypatch=monkeypatch) == 1
    out = capsys.readouterr()
    assert message in out.err
    assert out.err.count("\n") == 1
    assert "s3cret" not in out.err + out.out + repr(Home())


def test_the_doctor_looks_at_the_shared_store(halves: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.remote(Home()) == [(True, "the remote answers, with 1 studies")]
    monkeypatch.setenv("BENCH_REMOTE", "file:///no/such/mount")
    ((good, text),) = doctor.remote(Home())
    assert not good
    assert "there is no /no/such/mount" in text
    monkeypatch.delenv("BENCH_REMOTE")
    assert doctor.remote(Home()) == []


@pytest.mark.slow
def test_without_a_store_nothing_of_it_is_imported() -> None:
    names = ("bench.records.remote_home", "bench.records.sharing", "s3fs")
    script = f"import sys, bench.scheduler.trial_process; print([m for m in {names} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.fixture
def halves(shared_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A remote to which two homes were pushed, each with half of the runs of a study."""
    runs = Folder(GOLDEN).run_ids()
    monkeypatch.setenv("BENCH_REMOTE", shared_folder)
    for name, half in (("a", runs[::2]), ("b", runs[1::2])):
        for run in half:
            shutil.copytree(GOLDEN / "runs" / run, tmp_path / name / "runs" / run)
        for path in GOLDEN.glob("studies/*/study.json"):
            target = tmp_path / name / path.relative_to(GOLDEN).parent
            (target / "entries").mkdir(parents=True)
            shutil.copy(path, target)
            for part in path.parent.glob("entries/*.json"):
                if read_json(part)["run"] in half:
                    shutil.copy(part, target / "entries")
        monkeypatch.setenv("BENCH_HOME", str(tmp_path / name))
        assert bench("push", monkeypatch=monkeypatch) == 0
    return shared_folder


def whole(home: Path) -> bool:
    """Whether a home holds all records of the golden study, as they are there."""
    names = ("runs/*/record.json", "runs/*/curves.parquet", "studies/*/study.json", "studies/*/entries/*.json")
    files = [path.relative_to(GOLDEN) for name in names for path in GOLDEN.glob(name)]
    return len(files) > 50 and all((home / path).read_bytes() == (GOLDEN / path).read_bytes() for path in files)


def test_two_homes_make_a_whole(halves: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "c"))
    assert bench("pull", monkeypatch=monkeypatch) == 0
    assert whole(tmp_path / "c")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_homes_make_one_report(halves: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench("report", "--records", halves, "--out", str(tmp_path / "page"), monkeypatch=monkeypatch) == 0
    text = (tmp_path / "page" / "index.html").read_text()
    assert all(run in text for run in Folder(GOLDEN).run_ids())
