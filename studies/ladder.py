"""How accurate is the method at each of several given sparsities, when its other knobs are tuned for that sparsity?

One Optuna study per target; the best validation accuracy is chosen at each. For a real one name a larger task and model, for
example ``bench study sap,gradual --study ladder --task cifar10 --models cifar_resnet20 epochs=60 --trials 20 --gpus 0,1``.
"""

from __future__ import annotations

from typing import Any

from bench.study.kinds import Ladder
from bench.study.study import Study
from studies._embedded import MODELS, ONE_SEED, RECIPE, merged, named


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """The declaration for given methods, with whatever the command line changes."""
    declared: dict[str, Any] = {
        "kind": Ladder(),
        "question": "What accuracy is kept at each given sparsity?",
        "methods": named(methods, "ladder"),
        "models": MODELS,
        "targets": (0.8, 0.9, 0.95),
        "settings": RECIPE if changes.get("task", "digits") == "digits" else (),
        "controls": ("dense",),
    }
    if smoke:
        small = {"models": MODELS[:1], "targets": (0.8, 0.95), "trials": 2, "final_seeds": ONE_SEED}
        declared |= {**small, "settings": (*declared["settings"], "epochs=5")}
    return merged(declared, changes)
