from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn

from bench.config import hp
from bench.errors import BenchError
from bench.method import Method
from bench.scheduler import storages
from bench.scheduler.job_queue import Lease
from bench.scheduler.storages import open_storage
from bench.scheduler.tuner import Tuner
from bench.study.space import _at, check_space


@dataclass(frozen=True)
class Toy(Method[None]):
    share: float = hp(0.5, low=0, high=1)
    rate: float = hp(0.1, above=0)
    count: int = hp(3, low=1, high=9)
    law: str = hp("a", choices=("a", "b"))

    def attach(self, model: nn.Module, example: Tensor) -> None:
        return None


SPACE = {
    "share": FloatDistribution(0.0, 1.0),
    "rate": FloatDistribution(1e-3, 1.0, log=True),
    "count": IntDistribution(1, 9),
    "law": CategoricalDistribution(("a", "b")),
}
DEFAULT = {"share": 0.5, "rate": 0.1, "count": 3, "law": "a"}


def tuner(tmp_path: Path, sampler: str = "tpe", trials: int = 12) -> Tuner:
    storage = open_storage(None, tmp_path / "optuna.journal")
    return Tuner(storage, "s/c", SPACE, ("maximize", "minimize"), DEFAULT, sampler, seed=0, trials=trials)


def score(params: dict[str, Any]) -> list[float]:
    return [100 * (1 - (params["share"] - 0.3) ** 2), params["share"]]


def generation(one: Tuner, owner: str = "me") -> list[tuple[Lease, dict[str, Any]]]:
    return list(iter(lambda: one.lease(owner), None))  # type: ignore[arg-type]


def tuned(
    tmp_path: Path, sampler: str = "tpe", backwards: bool = False, cut: int | None = None
) -> list[dict[str, Any]]:
    """The configurations of 12 trials in generations of 4, reported in order or backwards. ``cut``: the process is killed after
    so many reports, and another one continues."""
    reported, one = 0, tuner(tmp_path, sampler)
    while work := generation(one):
        for lease, params in reversed(work) if backwards else work:
            if cut is not None and reported == cut:
                one, cut = tuner(tmp_path, sampler), None
                for left in one.queue.trials():
                    one.queue._free(left._trial_id)
                break
            assert one.queue.tell(lease, score(params), {})
            reported += 1
    return [dict(t.params) for t in one.queue.study.get_trials()]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_neither_the_order_of_ending_nor_a_kill_changes_a_configuration(tmp_path: Path, sampler: str) -> None:
    for name in ("whole", "backwards", "cut"):
        (tmp_path / name).mkdir()
    whole = tuned(tmp_path / "whole", sampler)
    assert len(whole) == 12
    assert whole[0] == DEFAULT
    assert len({str(p) for p in whole}) == 12
    assert tuned(tmp_path / "backwards", sampler, backwards=True) == whole
    assert tuned(tmp_path / "cut", sampler, cut=6) == whole


def test_a_generation_waits_for_the_one_before(tmp_path: Path) -> None:
    one = tuner(tmp_path)
    first = generation(one)
    assert [lease.number for lease, _ in first] == [0, 1, 2, 3]
    for lease, params in first[1:]:
        one.queue.tell(lease, score(params), {})
    assert one.lease("other") is None
    one.queue.tell(first[0][0], None, {"reason": "diverged"})
    found = one.lease("other")
    assert found is not None
    assert found[0].number == 4


def test_a_sampler_that_uses_no_results_waits_for_none(tmp_path: Path) -> None:
    assert len(generation(tuner(tmp_path, "qmc"))) == 12


def test_a_journal_cut_short_is_repaired(tmp_path: Path) -> None:
    one = tuner(tmp_path)
    for lease, params in generation(one):
        one.queue.tell(lease, score(params), {})
    journal = tmp_path / "optuna.journal"
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    (tmp_path / "optuna.journal.lock").symlink_to(journal)  # left behind by the same kill
    os.close(storages._USERS.pop(journal))  # it used the journal until it was killed
    again = tuner(tmp_path)
    assert len(again.queue.ended()) == 4
    assert [lease.number for lease, _ in generation(again)] == [4, 5, 6, 7]


def test_a_failed_trial_counts_and_is_not_leased_again(tmp_path: Path) -> None:
    one = tuner(tmp_path, trials=2)
    for lease, _ in generation(one):
        one.queue.tell(lease, None, {"reason": "diverged"})
    assert generation(one) == []
    assert one.queue.is_over()
    assert one.results() == []


def test_importances_name_the_parameter_that_matters(tmp_path: Path) -> None:
    one = tuner(tmp_path)
    while work := generation(one):
        for lease, params in work:
            one.queue.tell(lease, score(params), {})
    found = one.importances(("accuracy", "weights_left"))
    assert max(found["weights_left"], key=lambda k: found["weights_left"][k]) == "share"
    assert sum(found["weights_left"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("shares", lambda: FloatDistribution(0, 1), "did you mean 'share'"),
        ("count", lambda: IntDistribution(1, 4, step=9), "at least two values"),
        ("share", lambda: FloatDistribution(0.5, 0.5), "at least two values"),
        ("share", lambda: FloatDistribution(0.6, 1), "defaults must lie inside SPACE"),
        ("share", lambda: FloatDistribution(0.2, 1.5), "`0 <= share <= 1`"),
        ("law", lambda: CategoricalDistribution(("a", "c")), "reaches 'c'"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Optuna's own, of the step that is wider than its range
def test_a_space_that_cannot_mean_what_it_says_is_refused(name: str, make: Callable[[], Any], message: str) -> None:
    with pytest.raises(BenchError) as caught:
        check_space(Toy, {name: make()})
    assert message in str(caught.value)


def test_a_good_space_passes() -> None:
    check_space(Toy, SPACE)


@given(st.floats(0, 1, exclude_max=True))
def test_quasi_random_values_lie_in_their_distribution(x: float) -> None:
    for distribution in (*SPACE.values(), FloatDistribution(0, 1, step=0.25), IntDistribution(1, 100, log=True)):
        value = _at(distribution, x)
        assert distribution._contains(distribution.to_internal_repr(value))


def test_each_whole_number_has_its_share() -> None:
    assert [_at(IntDistribution(1, 4), (i + 0.5) / 4) for i in range(4)] == [1, 2, 3, 4]
