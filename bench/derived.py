"""Controls that follow from a finished run: was it the method, or only the shape that it found?

    rewound          the shape with the run's own starting weights, trained again: a lottery ticket
                     (Frankle and Carbin 2019, arXiv:1803.03635)
    random_ratios    as many zeros in each layer as the run has, in random places, from the run's own start
                     (Frankle et al. 2021, arXiv:2009.08576)
    scratch_epochs   the shape from an initialisation, for as many steps as the run took with those of its start
    scratch_macs     the same for as much arithmetic: more epochs, as the model is smaller (both Liu et al. 2019,
                     arXiv:1810.05270, scratch-E and scratch-B)

Each is plain training in a given shape (`bench.start`), with the run's seed, so that it is paired with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.errors import one_of
from bench.method import Method
from bench.spec import Run

NAMES = ("rewound", "random_ratios", "scratch_epochs", "scratch_macs")
MOST = 10.0  # times the epochs that a control may take: a tenth of the arithmetic is repaid tenfold, and no more


def check(name: str) -> None:
    """Refuse a name that is none."""
    if name not in NAMES:
        raise one_of("derived control", name, NAMES)


def derive(
    name: str, run: Run, record: Mapping[str, Any], training: Method[Any], scratch: tuple[str, ...]
) -> Run | None:
    """The control's run, or None where the finished ``run`` has no shape for it.

    Args:
        name: one of `NAMES`.
        run: what was finished; the control has its task, model, recipe, seed and test split.
        record: its record.
        training: plain training.
        scratch: key=value settings of those that start from an initialisation, such as a learning rate.
    """
    check(name)
    zeros = any(0 < row["nonzero"] < row["weights"] for row in record["layers"])
    smaller = record["metrics"]["params/all"] < record["metrics"]["params/reference"]
    if not (zeros or smaller) or (name == "random_ratios" and not zeros) or record["architecture"] != run.model:
        return None
    whose = "shuffled" if name == "random_ratios" else "run"
    same: dict[str, Any] = {key: getattr(run, key) for key in ("task", "model", "recipe", "seed", "test", "image_size")}
    made = Run(method=training, epochs=run.epochs, start=run.start, shape=f"{whose}:{run.id}", **same)
    if not name.startswith("scratch"):
        return made
    cost = record["cost"]
    epochs = run.epochs * (cost["steps"] + cost["start_steps"]) / cost["steps"]
    if name == "scratch_macs":
        epochs *= min(MOST, 1 / max(record["metrics"]["macs/fraction"], 1e-9))
    return made.with_values((*scratch, "start=", f"epochs={round(epochs, 2)}"))
