"""The loop on its own: what it measures, when it looks, and how it comes back from damage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import methods
from bench.errors import BenchError, Diverged
from bench.method import Budget, Phase
from bench.records.run_folder import RunFolder
from bench.training.loop import Event, Stopped, train
from tests.toys import RECIPE, replace_recipe, same, toy_training, weights


def gradual(**values: object) -> object:
    return methods.load("gradual").METHOD(**values)


def stopped_at(step: int, folder: Path) -> RunFolder:
    """The folder of a run that was stopped."""
    with pytest.raises(Stopped):
        train(toy_training(gradual(), folder=folder, stop_at=step))
    return RunFolder(folder)


def test_a_row_at_the_end_of_each_epoch_and_of_the_run(tmp_path: Path) -> None:
    train(toy_training(gradual(), steps=17, folder=tmp_path))
    rows = RunFolder(tmp_path).rows()
    assert [r["step"] for r in rows] == [7, 14, 17]
    assert [r["epoch"] for r in rows] == [1, 2, 17 / 7]
    assert rows[-1]["sparsity"] == pytest.approx(0.8, abs=0.01)
    assert rows[0]["lr"] < RECIPE.lr
    assert {"train/loss", "val/top1", "val/loss", "weights_left", "pq", "seconds", "time", "phase"} <= set(rows[0])


def test_a_corrupted_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    whole = weights(train(toy_training(gradual())))
    stopped_at(9, tmp_path)
    older, newest = stopped_at(16, tmp_path).checkpoints()
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    seen = list[Event]()
    resumed = toy_training(gradual(), folder=tmp_path, observers=[seen.append])
    assert same(weights(train(resumed)), whole)
    assert seen[0].step == 10
    assert not newest.exists()
    assert older.exists()


def test_with_every_checkpoint_gone_it_starts_again_and_ends_the_same(tmp_path: Path) -> None:
    whole = weights(train(toy_training(gradual())))
    for path in stopped_at(16, tmp_path).checkpoints():
        path.write_bytes(b"")
    assert same(weights(train(toy_training(gradual(), folder=tmp_path))), whole)


def test_an_epoch_measured_before_a_kill_keeps_its_row_and_is_not_doubled(tmp_path: Path) -> None:
    folder = stopped_at(9, tmp_path)
    before = folder.rows()
    for path in folder.checkpoints():
        path.unlink()
    again = toy_training(gradual(), folder=tmp_path)
    train(again)
    rows = folder.rows()
    assert rows[: len(before)] == before
    assert [r["step"] for r in rows] == [7, 14, 21, 28, 30]
    assert (tmp_path / "curves.jsonl").read_text().count("\n") == len(rows)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    recipe = replace_recipe(lr=100, weight_decay=10)
    training = toy_training(methods.load("dense").METHOD(), recipe=recipe, folder=tmp_path)
    with pytest.raises(Diverged, match="must stay finite"):
        train(training)


def test_micro_batches_add_up_to_the_gradient_of_the_batch() -> None:
    """Without batch norm and dropout, which see the parts, the weights are the same to rounding."""
    found = []
    for parts in (1, 4):
        training = toy_training(methods.load("dense").METHOD(), steps=5, recipe=replace_recipe(micro_batches=parts))
        training.model.bn1 = torch.nn.Identity()
        training.model.dropout = torch.nn.Identity()
        found.append(weights(train(training)))
    for name in found[0]:
        assert torch.allclose(found[0][name], found[1][name], atol=1e-5)


def test_budgets_are_cut_into_parts_that_add_up() -> None:
    for steps in (10, 37, 1000):
        for parts in (1, 3, 7):
            budget = Budget(steps, steps, 10)
            shares = [budget.share(i, parts) for i in range(parts)]
            assert sum(shares) == steps
            assert max(shares) - min(shares) <= 1


def test_a_phase_beyond_the_budget_is_refused() -> None:
    class Greedy(type(methods.load("dense").METHOD())):  # type: ignore[misc]
        def phase(self, state: None, index: int, budget: Budget) -> Phase | None:
            return Phase("all", budget.steps + 1)

    with pytest.raises(BenchError, match="phases must fit the budget"):
        train(toy_training(Greedy()))


def test_the_global_generators_are_left_as_they_were() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    train(toy_training(gradual(), steps=9))
    assert torch.equal(torch.get_rng_state(), before)
