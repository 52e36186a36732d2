"""The loop on its own: what it measures, when it looks, and how it comes back from damage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import methods
from bench.errors import BenchError, Diverged
from bench.method import Budget, Phase
from bench.training.loop import Event, Stopped, Training, train
from tests.toys import RECIPE, replace_recipe, same, toy_job, weights


def gradual(**values: object) -> object:
    return methods.load("gradual").METHOD(**values)


def stopped_at(step: int, folder: Path) -> Training:
    job = toy_job(gradual(), folder=folder)
    job.stop = lambda: job.at.step >= step
    with pytest.raises(Stopped):
        train(job)
    return job


def test_a_row_at_the_end_of_each_epoch_and_of_the_run(tmp_path: Path) -> None:
    job = toy_job(gradual(), steps=17, folder=tmp_path)
    train(job)
    assert job.folder is not None
    rows = job.folder.rows()
    assert [r["step"] for r in rows] == [7, 14, 17]
    assert [r["epoch"] for r in rows] == [1, 2, 17 / 7]
    assert rows[-1]["sparsity"] == pytest.approx(0.8, abs=0.01)
    assert rows[0]["lr"] < RECIPE.lr
    assert {"train/loss", "val/top1", "val/loss", "weights_left", "pq", "seconds", "time", "phase"} <= set(rows[0])


def test_a_corrupted_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    whole = weights(train(toy_job(gradual())))
    stopped_at(9, tmp_path)
    job = stopped_at(16, tmp_path)
    assert job.folder is not None
    older, newest = job.folder.checkpoints()
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    resumed = toy_job(gradual(), folder=tmp_path)
    seen = list[Event]()
    resumed.observers = [seen.append]
    assert same(weights(train(resumed)), whole)
    assert seen[0].step == 10
    assert not newest.exists()
    assert older.exists()


def test_with_every_checkpoint_gone_it_starts_again_and_ends_the_same(tmp_path: Path) -> None:
    whole = weights(train(toy_job(gradual())))
    job = stopped_at(16, tmp_path)
    assert job.folder is not None
    for path in job.folder.checkpoints():
        path.write_bytes(b"")
    assert same(weights(train(toy_job(gradual(), folder=tmp_path))), whole)


def test_an_epoch_measured_before_a_kill_keeps_its_row_and_is_not_doubled(tmp_path: Path) -> None:
    job = stopped_at(9, tmp_path)
    assert job.folder is not None
    before = job.folder.rows()
    for path in job.folder.checkpoints():
        path.unlink()
    again = toy_job(gradual(), folder=tmp_path)
    train(again)
    rows = job.folder.rows()
    assert rows[: len(before)] == before
    assert [r["step"] for r in rows] == [7, 14, 21, 28, 30]
    assert (tmp_path / "curves.jsonl").read_text().count("\n") == len(rows)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    job = toy_job(methods.load("dense").METHOD(), recipe=replace_recipe(lr=100, momentum=0.99), folder=tmp_path)
    job.recipe = replace_recipe(lr=100, weight_decay=10)
    with pytest.raises(Diverged, match="must stay finite"):
        train(job)


def test_micro_batches_add_up_to_the_gradient_of_the_batch() -> None:
    """Without batch norm and dropout, which see the parts, the weights are the same to rounding."""
    found = []
    for parts in (1, 4):
        job = toy_job(methods.load("dense").METHOD(), steps=5, recipe=replace_recipe(micro_batches=parts))
        job.model.bn1 = torch.nn.Identity()
        job.model.dropout = torch.nn.Identity()
        found.append(weights(train(job)))
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
        train(toy_job(Greedy()))


def test_the_global_generators_are_left_as_they_were() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    train(toy_job(gradual(), steps=9))
    assert torch.equal(torch.get_rng_state(), before)
