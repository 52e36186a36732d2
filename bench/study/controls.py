"""Controls that follow from a finished run: is its accuracy due to the method's weights, or to the shape alone?

    rewound          the shape with the run's own starting weights, trained again: a lottery ticket
                     (Frankle and Carbin 2019, arXiv:1803.03635)
    random_ratios    as many zeros in each layer as the run has, in random places, from the run's own start: the random
                     shuffling of Frankle et al. (2021, arXiv:2009.08576)
    reinit           the shape with another initialisation, for as many steps as the run took with those of its start (the
                     re-initialisation of Frankle et al. 2021)
    scratch_epochs   the shape from an initialisation, for as many steps as the run took with those of its start
    scratch_macs     the same for as much arithmetic: more epochs, as the model is smaller (both Liu et al. 2019,
                     arXiv:1810.05270, scratch-E and scratch-B)

Each is plain training in a given shape (`bench.training.start`), with the run's seed, so that the two are paired. Only `reinit`
has another seed, larger by `OTHER`: the run's own would give it the initialisation that the run's dense model began with.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.errors import one_of
from bench.method import Method
from bench.records.run_record import RunRecord
from bench.run import Run

NAMES = ("rewound", "random_ratios", "reinit", "scratch_epochs", "scratch_macs")
SANITY = {
    "shuffled": ("random_ratios",),
    "reinit": ("reinit",),
    "scratch": ("scratch_epochs", "scratch_macs"),
}
"""The sanity checks of Frankle et al. and training from scratch, by the names that `bench compare --sanity` takes."""

OTHER = 1_000_000
"""What is added to a run's seed for another initialisation."""

MOST = 10.0
"""The most times the epochs of its run that a control of equal arithmetic takes."""


def wanted(asked: Iterable[str]) -> tuple[str, ...]:
    """Returns the controls for the names of sanity checks; random zeros at the method's own ratios are always among them."""
    found = ["random_ratios"]
    for name in asked:
        if name not in SANITY:
            raise one_of("sanity check", name, SANITY)
        found += SANITY[name]
    return tuple(dict.fromkeys(found))


def check(name: str) -> None:
    """Raises `BenchError` for the name of no control."""
    if name not in NAMES:
        raise one_of("derived control", name, NAMES)


def derive(name: str, run: Run, record: RunRecord, training: Method[Any], scratch: tuple[str, ...]) -> Run | None:
    """Returns the control's run, or None where the finished ``run`` has no shape for it.

    Args:
        name: one of `NAMES`.
        run: the finished run; the control has its task, model, recipe, seed and test split.
        record: its record.
        training: plain training.
        scratch: key=value settings of those that start from an initialisation, such as a learning rate.
    """
    check(name)
    zeros = any(0 < row.nonzero < row.weights for row in record.layers)
    smaller = record.metrics.params_all < record.metrics.params_reference
    if not (zeros or smaller) or (name == "random_ratios" and not zeros) or record.architecture != run.model:
        return None
    whose = "shuffled" if name == "random_ratios" else "run"
    same: dict[str, Any] = {
        key: getattr(run, key) for key in ("task", "data", "model", "recipe", "seed", "test", "image_size")
    }
    made = Run(method=training, epochs=run.epochs, start=run.start, shape=f"{whose}:{run.id}", **same)
    if name in ("rewound", "random_ratios"):
        return made
    cost = record.cost
    epochs = run.epochs * (cost.steps + cost.start_steps) / cost.steps
    if name == "scratch_macs":
        epochs *= min(MOST, 1 / max(record.metrics.macs_fraction, 1e-9))
    other = run.seed + OTHER if name == "reinit" else run.seed
    return made.with_values((*scratch, "start=", f"epochs={round(epochs, 2)}", f"seed={other}"))
