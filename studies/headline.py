"""Which unstructured method keeps the most accuracy at 80, 90, 95 and 98 %, for equal cost and equal tuning?

CIFAR-10 with ResNet-20. The same for all methods: the epochs (dense training and fine-tuning included), the recipe, the
trials at each sparsity, the sampler, and the three seeds of the finals. A sparsity is a share of all parameters of the model,
for every method alike. `small_dense` is a smaller model; dense training of the whole model is the control. Each method's own
fields and the learning rate are tuned.

    bench study --study headline --gpus 0 --jobs 8

Full size: 8 methods x 4 sparsities x (20 trials + 3 finals) of 60 epochs; `small_dense` tunes the learning rate alone.
``--dry-run`` prints the cost on this machine, and ``bench study gradual,rigl --study headline`` compares fewer methods.
``--smoke``: one trial of each at 80 % on the digits, as a test of the installation; six epochs are too few for methods
that rewind.
"""

from __future__ import annotations

from typing import Any

from bench.study.kinds import Ladder
from bench.study.study import Study
from studies._embedded import ONE_SEED, merged

METHODS = ("gradual", "sap", "drop", "adaptive", "lottery", "oneshot", "rigl", "small_dense")


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """Returns the declaration, for all unstructured methods or for given ones, with the command line's changes."""
    declared: dict[str, Any] = {
        "kind": Ladder(),
        "topic": "headline",
        "question": "Which unstructured method keeps the most accuracy at a given sparsity, for equal cost and tuning?",
        "methods": methods or METHODS,
        "models": ("cifar_resnet20",),
        "task": "cifar10",
        "targets": (0.8, 0.9, 0.95, 0.98),
        "settings": ("share_of=params", "epochs=60", "lr=0.1", "batch=128", "precision=bf16"),
        "trials": 20,
        "tuned_recipe": ("lr",),
        "controls": ("dense",),
    }
    if smoke:
        small = {"task": "digits", "models": ("test_resnet",), "targets": (0.8,), "trials": 1, "final_seeds": ONE_SEED}
        declared |= {**small, "settings": ("share_of=params", "epochs=6", "lr=0.05", "batch=64")}
    return merged(declared, changes)
