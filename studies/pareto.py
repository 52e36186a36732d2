"""How much accuracy does the method keep at each size, when its sparsity budget is tuned along with its other knobs?

The default study of every method: Optuna searches the front of validation accuracy against weights left. Two small timm
architectures on the embedded digits, so that a first look takes minutes; name larger ones for a real one, for example
``bench study sap --task cifar10 --models cifar_resnet20 epochs=60 --trials 50 --gpus 0,1``.
"""

from __future__ import annotations

from typing import Any

from bench.study.kinds import Pareto
from bench.study.study import Study
from studies._embedded import MODELS, ONE_SEED, RECIPE, merged, named


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """The declaration for given methods, with whatever the command line changes."""
    declared: dict[str, Any] = {
        "kind": Pareto(),
        "question": "What accuracy is kept at what share of the weights, when the budget is tuned too?",
        "methods": named(methods, "pareto"),
        "models": MODELS,
        "settings": RECIPE if changes.get("task", "digits") == "digits" else (),
        "controls": ("dense",),
    }
    if smoke:
        small = {"models": MODELS[:1], "trials": 4, "finals": 1, "final_seeds": ONE_SEED}
        declared |= {**small, "settings": (*declared["settings"], "epochs=5")}
    return merged(declared, changes)
