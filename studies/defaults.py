"""What does each method keep at its defaults, from the same start and in the same few epochs?

A quick comparison of all unstructured methods, without tuning: every method has the same start, epochs, recipe and
seeds. Without `start` all begin at an initialisation. It is better to give trained weights (a file, or run:ID of a
dense run):

    bench study --study defaults start=cifar10_resnet20.safetensors

With trained weights some fields are not at their defaults: `oneshot` prunes at once (when=0), and so does `drop`
(dense=0); the thresholds of `adaptive` move at the rate of its official code, 0.001, although the recipe's rate is a
tenth of the rate there (threshold_lr=0.1). `small_dense` and `rigl` cannot use trained weights: the first trains its
smaller model from scratch, the second begins with a random mask. In few epochs both are at a disadvantage.

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


def variant(method: str, target: float, started: bool) -> Variant:
    """Returns a method at a target; ``started``: from trained weights."""
    own = TRAINED.get(method, ()) if started else ()
    return Variant(f"{target:g}", method, (f"final={target}", *own), f"{target:g}", {"target": target})


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """Returns the declaration, for all unstructured methods or for given ones, with the command line's changes."""
    chosen, targets = methods or METHODS, changes.pop("targets", TARGETS[:1] if smoke else TARGETS)
    started = any(s.startswith("start=") for s in changes.get("settings", ()))
    declared: dict[str, Any] = {
        "kind": Grid(),
        "topic": "defaults",
        "question": "What does each method keep at its defaults, from the same start and in the same few epochs?",
        "methods": chosen,
        "models": ("cifar_resnet20",),
        "task": "cifar10",
        "variants": tuple(variant(method, target, started) for target in targets for method in chosen),
        "settings": ("epochs=3", "lr=0.01", "batch=128", "precision=bf16"),
        "controls": ("dense",),
    }
    if smoke:
        small = {"task": "digits", "models": ("test_resnet",), "final_seeds": ONE_SEED}
        declared |= {**small, "settings": ("epochs=6", "lr=0.05", "batch=64")}
    return merged(declared, changes)
