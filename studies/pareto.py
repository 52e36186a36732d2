"""How much accuracy does the method keep at each size, when its sparsity budget is tuned along with its other knobs?

The default study of every method: Optuna searches the front of validation accuracy against weights left. By default two
small timm architectures are trained on the embedded digits, which takes minutes. Name a larger task and model for a
result of interest: ``bench study sap --task cifar10 --models cifar_resnet20 epochs=60 --trials 50 --gpus 0,1``.
"""

from __future__ import annotations

from typing import Any

from bench.study.kinds import Pareto
from bench.study.study import Study
from studies._embedded import MODELS, ONE_SEED, RECIPE, merged, named, on_digits


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """Returns the declaration for given methods, with the command line's changes."""
    declared: dict[str, Any] = {
        "kind": Pareto(),
        "question": "What accuracy is kept at what share of the weights, when the budget is tuned too?",
        "methods": named(methods, "pareto"),
        "models": MODELS,
        "settings": on_digits(changes, RECIPE),
        "controls": ("dense",),
    }
    if smoke:
        small = {"models": MODELS[:1], "trials": 4, "finals": 1, "final_seeds": ONE_SEED}
        declared |= {**small, "settings": (*declared["settings"], "epochs=5")}
    return merged(declared, changes)
