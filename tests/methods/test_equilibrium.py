"""The fixed points of Drop Pruning with constant probabilities."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import BenchError
from methods import drop
from methods._equilibrium import ORDERS, equilibrium_sparsity


def test_fixed_points_by_hand():
    assert equilibrium_sparsity(rule="R1", away=0.5, back=0.02, fraction=0.3) == pytest.approx(0.8824, abs=5e-5)
    sequential = equilibrium_sparsity(rule="R1", away=0.5, back=0.02, fraction=0.3, order="sequential")
    assert sequential == pytest.approx(0.8802, abs=5e-5)
    assert equilibrium_sparsity(rule="R2", away=0.5, back=0.1, target=0.9) == pytest.approx(0.75)
    assert equilibrium_sparsity(rule="R2", away=0.5, back=0.0, target=0.9) == 0.9
    assert equilibrium_sparsity(rule="R1", away=0.5, back=0.0, fraction=0.3) == 1
    for order in ORDERS:
        assert equilibrium_sparsity(rule="R2", away=0.0, back=0.0, target=0.9, order=order) == 0
        assert equilibrium_sparsity(rule="R1", away=0.0, back=0.3, fraction=0.9, order=order) == 0


@pytest.mark.parametrize("order", ORDERS)
@given(st.floats(0.05, 1), st.floats(0.01, 0.5), st.floats(0.05, 1))
def test_fixed_points_are_where_the_recursions_stand_still(order, away, back, share):
    for rule, target, loss in (("R1", 1.0, away * share), ("R2", share, away)):
        found = equilibrium_sparsity(rule=rule, away=away, back=back, fraction=share, target=share, order=order)
        density = 1 - found
        left = density - loss * (density - (1 - target))
        assert left + back * (1 - (left if order == "sequential" else density)) == pytest.approx(density, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rule": "target"}, r"no rule 'target'; there are: R1, R2"),
        ({"order": "reverse"}, r"no order 'reverse'; .*there are: sequential, simultaneous"),
        ({"away": 1.5}, r"`0 <= away <= 1` must hold, but got away=1.5"),
        ({"back": math.nan}, r"`0 <= back <= 1` must hold, but got back=nan"),
        ({"target": -0.1}, r"`0 <= target <= 1` must hold, but got target=-0.1"),
        ({"target": None}, r"rule R2 needs `target`, but got target=None"),
        ({"rule": "R1"}, r"rule R1 needs `fraction`, but got fraction=None"),
    ],
)
def test_fixed_points_refuse(values, message):
    with pytest.raises(BenchError, match=message):
        equilibrium_sparsity(**{"rule": "R2", "away": 0.5, "back": 0.1, "target": 0.9, **values})


def test_drop_offers_the_fixed_points():
    assert drop.equilibrium_sparsity is equilibrium_sparsity
