"""The instrument: runs, tasks, models, training, measuring, tracking and tuning.

It knows no method by name and imports no other package of this project (see "Layout" in the README).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__version__ = "0.1.0"


def load(run: str | Path) -> nn.Module:
    """The finished model of a run: a plain `torch.nn.Module` (fp32, on the CPU, in eval mode), with its pruned shapes.

    ``run`` is the run's id in `$BENCH_HOME`, or its folder, which may be a copy from another machine: plan.json and
    model.safetensors are enough; with record.json the weights are verified.

    Raises:
        BenchError: there is no such run, it has no weights, or a file is damaged.
    """
    from bench.deploy import load  # here, because torch and timm take seconds to import

    return load.load(run)
