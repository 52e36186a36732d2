"""Checkpoints: when they are written, what is in them, and that those of earlier versions are read."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import methods
from bench.recipe import Recovery
from bench.records.run_folder import RunFolder
from bench.training.checkpoint import due, load, save, upgraded
from bench.training.loop import Stopped, train
from tests.toys import same, toy_training, weights

LATE = Recovery("weights", 0.3, 0.2)  # of 37 steps 11; values are kept at step 5


def stopped(folder: Path, name: str, at: int, **more: Any) -> RunFolder:
    with pytest.raises(Stopped):
        train(toy_training(methods.load(name).METHOD(), steps=37, folder=folder, stop_at=at, **more))
    return RunFolder(folder)


def test_a_checkpoint_has_a_key_for_each_part_of_the_state(tmp_path: Path) -> None:
    found = stopped(tmp_path, "depgraph", 20, recovery=LATE).load_checkpoint()
    assert found is not None
    assert found.keys() == {"at", "model", "state", "optimizer", "generators", "origin"}
    assert (found["at"]["step"], found["at"]["stage"]) == (20, 0)
    assert found["origin"].keys() == toy_training(methods.load("dense").METHOD()).model.state_dict().keys()
    assert len(found["generators"]) == 1
    assert {"masks", "gone", "plan", "pull"} <= found["state"].keys()
    assert not {"ready", "groups", "costs"} & found["state"].keys()  # made again when the method is attached


def test_values_of_the_start_are_not_stored_as_a_resumed_run_has_them_again(tmp_path: Path) -> None:
    found = stopped(tmp_path, "depgraph", 20, recovery=Recovery("weights", 0.3)).load_checkpoint()
    assert found is not None
    assert found["origin"] == {}


def test_between_two_phases_there_is_no_optimiser_and_the_file_comes_after_that_of_the_phases_end(
    tmp_path: Path,
) -> None:
    folder = stopped(tmp_path, "depgraph", 1, checkpoint_seconds=0.0)
    assert [path.stem for path in folder.checkpoints()] == ["checkpoint-000000002"]
    training = toy_training(methods.load("depgraph").METHOD(), steps=37, folder=tmp_path / "other")
    assert training.optimizer is None
    save(training)
    written = RunFolder(tmp_path / "other")
    assert [path.stem for path in written.checkpoints()] == ["checkpoint-000000001"]
    assert not due(training)


def test_without_a_folder_nothing_is_written_or_read(tmp_path: Path) -> None:
    training = toy_training(methods.load("dense").METHOD(), checkpoint_seconds=0.0)
    save(training)
    assert load(training) is None
    assert list(tmp_path.glob("**/checkpoint-*")) == []


def older(found: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint in the first layout, in which the recovery had a key of its own."""
    at, state, recovery = dict(found["at"]), dict(found["state"]), None
    if at.pop("stage"):
        recovery = {key: state.pop(key) for key in ("kept", "label", "held")}
    return {**found, "at": at, "state": state, "recovery": recovery}


@cache
def whole(name: str) -> dict[str, torch.Tensor]:
    """The weights of the run without a stop."""
    return weights(train(toy_training(methods.load(name).METHOD(), steps=37, recovery=LATE)))


@pytest.mark.parametrize("name", ["adaptive", "depgraph"])
@pytest.mark.parametrize("cut", [3, 20, 26, 30])
def test_checkpoints_of_the_first_layout_are_resumed_to_the_same_weights(name: str, cut: int, tmp_path: Path) -> None:
    """Before and after values are kept, after the method's last phase, and in the recovery."""
    method = methods.load(name).METHOD()
    folder = stopped(tmp_path, name, cut, recovery=LATE)
    found = folder.load_checkpoint()
    assert found is not None
    before = older(found)
    assert "stage" not in before["at"]
    assert (before["recovery"] is None) == (cut <= 26)
    assert upgraded(before)["at"] == found["at"]
    assert upgraded(before)["state"].keys() == found["state"].keys()
    for path in folder.checkpoints():
        path.unlink()
    folder.save_checkpoint(2 * cut, before)
    resumed = toy_training(method, steps=37, folder=tmp_path, recovery=LATE)
    assert same(weights(train(resumed)), whole(name))
    assert resumed.recovering
    assert bool(resumed.kept) == (name == "depgraph")
