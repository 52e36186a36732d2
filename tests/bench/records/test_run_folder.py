from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
import torch

from bench.errors import BenchError, Corrupt
from bench.records.files import read_json, write_bytes
from bench.records.folder import read_rows
from bench.records.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def test_a_checkpoint_comes_back_bit_for_bit(folder: RunFolder) -> None:
    state = {
        "w": torch.randn(5, generator=torch.Generator().manual_seed(1)),
        "at": {"step": 3, "loss": 0.1},
        "none": None,
    }
    folder.save_checkpoint(3, state)
    back = folder.load_checkpoint()
    assert back is not None
    assert torch.equal(back["w"], state["w"])  # type: ignore[arg-type]
    assert back["at"] == state["at"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_broken_checkpoint_falls_back_to_the_one_before(folder: RunFolder, damage: str) -> None:
    folder.save_checkpoint(1, {"step": 1})
    folder.save_checkpoint(2, {"step": 2})
    newest = folder.checkpoints()[-1]
    content = bytearray(newest.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    newest.write_bytes({"cut": bytes(content[:-9]), "flip": bytes(content), "empty": b""}[damage])
    assert folder.load_checkpoint() == {"step": 1}
    assert not newest.exists()


def test_only_the_last_two_checkpoints_are_kept(folder: RunFolder) -> None:
    for step in range(5):
        folder.save_checkpoint(step, {"step": step})
    assert [p.name for p in folder.checkpoints()] == ["checkpoint-000000003.pt", "checkpoint-000000004.pt"]


def test_rows_survive_a_line_cut_short(folder: RunFolder) -> None:
    folder.append_row({"step": 1, "x": 1.0})
    with (folder.path / "curves.jsonl").open("a") as file:
        file.write('{"step": 2, "x"')  # killed in the middle of a write
    assert folder.rows() == [{"step": 1, "x": 1.0}]
    folder.append_row({"step": 2, "x": 2.0})
    assert [row["x"] for row in folder.rows()] == [1.0, 2.0]


def test_of_two_rows_of_a_step_the_last_stands(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"step": s, "x": x}) + "\n" for s, x in [(2, 0), (1, 1), (2, 2)]))
    assert read_rows(path) == [{"step": 1, "x": 1}, {"step": 2, "x": 2}]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(TypeError):
        write_bytes(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_broken_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(Corrupt, match=r"x\.json is not valid JSON"):
        read_json(tmp_path / "x.json")


def _hold(path: Path, ready: object, done: object) -> None:
    with RunFolder(path).lock():
        ready.set()  # type: ignore[attr-defined]
        done.wait(20)  # type: ignore[attr-defined]


def test_a_run_is_held_by_one_process_and_freed_by_its_death(folder: RunFolder) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(folder.path, ready, done))
    process.start()
    assert ready.wait(60)
    assert folder.busy
    with pytest.raises(BenchError, match="held by another"), folder.lock():
        pass
    process.kill()
    process.join()
    assert not folder.busy
    with folder.lock():
        pass
