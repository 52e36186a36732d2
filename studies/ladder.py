"""How accurate is the method at each of several given sparsities, when its other knobs are tuned for that sparsity?

Each target has an Optuna study of its own, and the trial with the best validation accuracy goes to the finals. Name a
larger task and model for a result of interest: ``bench study sap,gradual --study ladder --task cifar10 --models
cifar_resnet20 epochs=60 --trials 20 --gpus 0,1``.
"""

from __future__ import annotations

from typing import Any

from bench.study.kinds import Ladder
from bench.study.study import Study
from studies._embedded import MODELS, ONE_SEED, RECIPE, merged, named, on_digits


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """Returns the declaration for given methods, with the command line's changes."""
    declared: dict[str, Any] = {
        "kind": Ladder(),
        "question": "What accuracy is kept at each given sparsity?",
        "methods": named(methods, "ladder"),
        "models": MODELS,
        "targets": (0.8, 0.9, 0.95),
        "settings": on_digits(changes, RECIPE),
        "controls": ("dense",),
    }
    if smoke:
        small = {"models": MODELS[:1], "targets": (0.8, 0.95), "trials": 2, "final_seeds": ONE_SEED}
        declared |= {**small, "settings": (*declared["settings"], "epochs=5")}
    return merged(declared, changes)
