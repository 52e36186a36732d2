"""The PQ index against its closed forms, its bounds and the properties that the paper proves."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.errors import BenchError
from bench.measure.pq_index import pq_index

orders = st.tuples(st.floats(0.1, 0.95), st.floats(1.0, 2.0))
vectors = arrays(float, st.integers(2, 12), elements=st.floats(1e-3, 1e3)).map(torch.from_numpy)
SLACK = 1e-10


def by_definition(w: torch.Tensor, p: float, q: float) -> float:
    norm = [w.abs().pow(order).sum().pow(1 / order).item() for order in (p, q)]
    return 1 - len(w) ** (1 / q - 1 / p) * norm[0] / norm[1]


def index(w: torch.Tensor, p: float, q: float) -> float:
    return pq_index(w, p, q).item()


def test_by_hand():
    # |w|_1 = 7 and |w|_2 = 5 with d = 2: 1 - 2^(-1/2) * 7 / 5
    assert index(torch.tensor([3.0, -4.0]), 1, 2) == pytest.approx(1 - 7 / (5 * math.sqrt(2)))
    # |w|_(1/2) = (1 + 2)^2 = 9 and |w|_1 = 5: 1 - 9 / (2 * 5)
    assert index(torch.tensor([1.0, 4.0]), 0.5, 1) == pytest.approx(0.1)


@given(vectors, orders)
def test_is_the_definition(w, pq):
    assert index(w, *pq) == pytest.approx(by_definition(w, *pq), abs=1e-9)


@given(vectors, orders)
def test_theorem_1_bounds(w, pq):
    p, q = pq
    assert 0 <= index(w, p, q) <= 1 - len(w) ** (1 / q - 1 / p)
    assert index(torch.full_like(w, w[0].item()), p, q) == pytest.approx(0, abs=1e-12)
    assert index(torch.eye(len(w))[0], p, q) == pytest.approx(1 - len(w) ** (1 / q - 1 / p))


@given(st.integers(1, 30), st.integers(0, 30), orders)
def test_k_sparse_with_equal_magnitudes(k, zeros, pq):
    p, q = pq
    d = k + zeros
    got = index(torch.tensor([0.7] * k + [0.0] * zeros), p, q)
    assert got == pytest.approx(1 - (k / d) ** (1 / p - 1 / q), abs=1e-12)
    assert d * (1 - got) ** (p * q / (q - p)) == pytest.approx(k, rel=0.01)  # theorem 2 is an equality here


@given(vectors, st.integers(1, 20), orders)
def test_padding_with_zeros(w, zeros, pq):
    (p, q), d = pq, len(w)
    padded = index(torch.cat([w, torch.zeros(zeros, dtype=w.dtype)]), p, q)
    assert 1 - padded == pytest.approx((1 - index(w, p, q)) * (d / (d + zeros)) ** (1 / p - 1 / q), abs=SLACK)
    assert padded > index(w, p, q)


@given(vectors, orders, st.integers(-150, 150), st.randoms())
def test_scale_sign_order_and_cloning_do_not_matter(w, pq, exponent, random):
    same = index(w, *pq)
    order = list(range(len(w)))
    random.shuffle(order)
    for other in (w * 10.0**exponent, -w, w[order], w.repeat(3)):
        assert index(other, *pq) == pytest.approx(same, abs=SLACK)


@given(vectors, orders, st.data())
def test_robin_hood_lowers_it(w, pq, data):
    w = w.sort().values
    gap = (w[-1] - w[0]).item()
    assume(gap > 0.01 * w[-1].item())
    alpha = gap / 2 * data.draw(st.floats(0.05, 0.95))
    fairer = w.clone()
    fairer[-1] -= alpha
    fairer[0] += alpha
    assert index(fairer, *pq) < index(w, *pq)


@given(vectors, orders, st.floats(0.01, 100))
def test_a_rising_tide_lowers_it(w, pq, alpha):
    assume(w.max() > w.min() * 1.01)
    assert index(w + alpha, *pq) < index(w, *pq)


@given(vectors, orders)
def test_one_rich_enough_raises_it(w, pq):
    """P1: from some size on, more for the richest raises the index."""
    rich, richer = w.clone(), w.clone()
    rich[0], richer[0] = 1e6, 1e7
    assert index(richer, *pq) > index(rich, *pq)


@given(vectors, orders, st.data())
def test_theorem_2_bounds_what_must_stay(w, pq, data):
    (p, q), d = pq, len(w)
    r = data.draw(st.integers(1, d))
    powers = w.sort(descending=True).values.pow(p)
    eta = (powers[r:].sum() / powers[:r].sum()).item()
    bound = d * (1 + eta) ** (-q / (q - p)) * (1 - index(w, p, q)) ** (p * q / (q - p))
    assert r >= bound * (1 - 1e-9)


@pytest.mark.parametrize(
    ("draw", "limits"),
    [
        ("normal", (0.1528, 1 - math.sqrt(2 / math.pi))),
        ("laplace", (1 - math.pi / 4, 1 - 1 / math.sqrt(2))),
        ("uniform", (1 / 9, 1 - math.sqrt(3) / 2)),
    ],
)
def test_limits_of_distributions(draw, limits):
    generator = torch.Generator().manual_seed(0)
    if draw == "normal":
        w = torch.randn(200_000, generator=generator)
    else:
        w = torch.rand(200_000, generator=generator)
        w = w if draw == "uniform" else -torch.log1p(-w)
    assert (index(w, 0.5, 1), index(w, 1, 2)) == pytest.approx(limits, abs=3e-3)


def test_dimensions():
    w = torch.arange(1.0, 25.0).view(2, 3, 4)
    rows = pq_index(w, 0.5, 1, dim=(1, 2))
    assert rows.tolist() == pytest.approx([index(w[0].flatten(), 0.5, 1), index(w[1].flatten(), 0.5, 1)])
    assert pq_index(w, 0.5, 1, dim=-1).shape == (2, 3)
    assert pq_index(w, 0.5, 1).shape == ()
    assert index(w, 0.5, 1) == pytest.approx(index(w.flatten(), 0.5, 1))


def test_live_entries_only():
    w = torch.tensor([[3.0, 9.0, 4.0], [0.0, 0.0, 1.0]])
    live = torch.tensor([[True, False, True], [False, False, True]])
    assert pq_index(w, 1, 2, dim=1, live=live).tolist() == pytest.approx([index(torch.tensor([3.0, 4.0]), 1, 2), 0])


def test_nothing_overflows_or_vanishes():
    w = torch.tensor([1e-300, 1e300, 5e299], dtype=torch.float64)
    assert 0 < index(w, 0.5, 1) < 1
    assert index(torch.tensor([5e-324, 5e-324], dtype=torch.float64), 0.5, 1) == 0
    assert index(torch.rand(10_000, generator=torch.Generator().manual_seed(0)), 0.01, 2) < 1
    assert index(torch.tensor([3.0, 4.0], dtype=torch.float16), 1, 2) == pytest.approx(1 - 7 / (5 * math.sqrt(2)))


def test_zeros_nothing_and_no_number():
    assert index(torch.zeros(4), 0.5, 1) == 0
    assert index(torch.zeros(0), 0.5, 1) == 0
    assert pq_index(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), 0.5, 1, dim=1).tolist() == pytest.approx([0, 0.5])
    assert math.isnan(index(torch.tensor([1.0, math.nan]), 0.5, 1))


@pytest.mark.parametrize(("p", "q"), [(1, 1), (2, 1), (0, 1), (-1, 1)])
def test_orders_out_of_line_are_refused(p, q):
    with pytest.raises(BenchError, match=rf"`0 < p < q` must hold, but got \(p={p}, q={q}\)"):
        pq_index(torch.ones(2), p, q)
