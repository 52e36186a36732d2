"""Seeded initialisation: timm's initialisers take no generator, so the global generators are seeded and then restored."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the CPU generators of torch, NumPy and Python, and restores them afterwards.

    timm itself uses torch's; models of other packages may use the others.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global generator must be restored
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU as well
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
