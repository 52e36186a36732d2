from __future__ import annotations

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
from bench.storages import open_storage
from bench.tuner import Tuner, _at, check_space


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
    directions = ("maximize", "minimize")
    return Tuner(storage, "s/c", SPACE, directions, default=DEFAULT, sampler=sampler, seed=0, trials=trials)


def score(params: dict[str, Any]) -> list[float]:
    return [100 * (1 - (params["share"] - 0.3) ** 2), params["share"]]


def conduct(tmp_path: Path, sampler: str = "tpe", cut: int | None = None) -> list[dict[str, Any]]:
    """All 12 trials in generations of 4; ``cut``: the process dies after that many tells, and another goes on."""
    told = 0
    one = tuner(tmp_path, sampler)
    while work := one.generation(4):
        for number, params in work.items():
            if cut is not None and told == cut:
                one, cut = tuner(tmp_path, sampler), None
                break
            one.tell(number, score(params))
            told += 1
    return [dict(t.params) for t in one.study.get_trials()]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_a_kill_between_tells_changes_no_configuration(tmp_path: Path, sampler: str) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = conduct(tmp_path / "whole", sampler)
    assert len(whole) == 12
    assert whole[0] == DEFAULT
    assert len({str(p) for p in whole}) == 12
    assert conduct(tmp_path / "cut", sampler, cut=6) == whole


def test_a_journal_cut_short_is_mended(tmp_path: Path) -> None:
    one = tuner(tmp_path)
    for number, params in one.generation(4).items():
        one.tell(number, score(params))
    journal = tmp_path / "optuna.journal"
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    (tmp_path / "optuna.journal.lock").symlink_to(journal)  # left behind by the same kill
    again = tuner(tmp_path)
    assert again.told == 4
    assert sorted(again.generation(4)) == [4, 5, 6, 7]


def test_a_failed_trial_counts_and_is_not_asked_again(tmp_path: Path) -> None:
    one = tuner(tmp_path, trials=2)
    for number in one.generation(4):
        one.tell(number, None, reason="diverged")
    assert one.generation(4) == {}
    assert one.told == 2


def test_importances_name_the_knob_that_matters(tmp_path: Path) -> None:
    one = tuner(tmp_path)
    while work := one.generation(4):
        for number, params in work.items():
            one.tell(number, score(params))
    found = one.importances(("accuracy", "weights_left"))
    assert max(found["weights_left"], key=lambda k: found["weights_left"][k]) == "share"
    assert sum(found["weights_left"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "make", "told"),
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
def test_a_space_that_cannot_mean_what_it_says_is_refused(name: str, make: Callable[[], Any], told: str) -> None:
    with pytest.raises(BenchError) as caught:
        check_space(Toy, {name: make()})
    assert told in str(caught.value)


def test_a_good_space_passes() -> None:
    check_space(Toy, SPACE)


@given(st.floats(0, 1, exclude_max=True))
def test_quasi_random_values_lie_in_their_distribution(x: float) -> None:
    for distribution in (*SPACE.values(), FloatDistribution(0, 1, step=0.25), IntDistribution(1, 100, log=True)):
        value = _at(distribution, x)
        assert distribution._contains(distribution.to_internal_repr(value))


def test_each_whole_number_has_its_share() -> None:
    assert [_at(IntDistribution(1, 4), (i + 0.5) / 4) for i in range(4)] == [1, 2, 3, 4]
