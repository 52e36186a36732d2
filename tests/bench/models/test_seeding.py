"""Seeded initialisation: inside the block the global generators are seeded; afterwards they are as before."""

import random

import numpy as np
import pytest
import torch

from bench.models.seeding import seeded


def drawn() -> tuple[float, float, float]:
    return torch.rand(()).item(), random.random(), float(np.random.rand())  # noqa: NPY002


def test_the_seed_alone_decides_what_is_drawn() -> None:
    found = []
    for seed in (1, 1, 2):
        drawn()
        with seeded(seed):
            found.append(drawn())
    assert found[0] == found[1]
    assert all(a != b for a, b in zip(found[0], found[2], strict=True))


def fail() -> None:
    with seeded(4):
        drawn()
        raise RuntimeError


def test_generators_go_on_as_if_nothing_was_drawn() -> None:
    with seeded(3):
        wanted = [drawn(), drawn()]
    with seeded(3):
        first = drawn()
        with pytest.raises(RuntimeError):
            fail()
        assert [first, drawn()] == wanted
