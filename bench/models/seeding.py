"""Initialisation from an address: timm's initialisers take no generator, so the global ones are lent and given back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The CPU generators of torch, NumPy and Python seeded inside, and as they were afterwards.

    timm itself uses torch's; models of other packages may use the others.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - it is the global one that must be kept
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU as well
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
