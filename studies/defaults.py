"""What does each method keep at its defaults, from the same start and in the same few epochs?

A quick look at all unstructured methods side by side, without tuning: every method gets the same start, epochs, recipe and
seeds. Without `start` all of them begin at an initialisation; better, give trained weights (a file, or run:ID of a dense
run):

    bench study --study defaults start=cifar10_resnet20.safetensors

From a trained start some fields are not at their defaults: `oneshot` prunes at once (when=0), `drop` too (dense=0), and
the thresholds of `adaptive` move at the absolute rate of its official code, 0.001, although the recipe's rate is ten times
lower than there (threshold_lr=0.1). `small_dense` and `rigl` cannot use trained weights as they are: the one trains its
smaller model from scratch, the other masks at random first; in few epochs both are at a disadvantage.

``--smoke``: one sparsity, on the digits.
"""

from __future__ import annotations

from typing import Any

from bench.study.kinds import Grid
from bench.study.study import Study, Variant
from studies._embedded import ONE_SEED, merged
from studies.headline import METHODS

TRAINED = {
    "oneshot": ("when=0",),
    "drop": ("dense=0",),
    "adaptive": ("threshold_lr=0.1",),
    "small_dense": ("start=",),
}
TARGETS = (0.8, 0.9)


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """The declaration, for all unstructured methods or for given ones, with whatever the command line changes."""
    chosen, targets = methods or METHODS, changes.pop("targets", TARGETS[:1] if smoke else TARGETS)
    started = any(s.startswith("start=") for s in changes.get("settings", ()))
    declared: dict[str, Any] = {
        "kind": Grid(),
        "topic": "defaults",
        "question": "What does each method keep at its defaults, from the same start and in the same few epochs?",
        "methods": chosen,
        "models": ("cifar_resnet20",),
        "task": "cifar10",
        "variants": tuple(
            Variant(
                f"{target:g}",
                m,
                (f"final={target}", *(TRAINED.get(m, ()) if started else ())),
                f"{target:g}",
                {"target": target},
            )
            for target in targets
            for m in chosen
        ),
        "settings": ("epochs=3", "lr=0.01", "batch=128", "precision=bf16"),
        "controls": ("dense",),
    }
    if smoke:
        small = {"task": "digits", "models": ("test_resnet",), "final_seeds": ONE_SEED}
        declared |= {**small, "settings": ("epochs=6", "lr=0.05", "batch=64")}
    return merged(declared, changes)
