"""How much accuracy does the method keep at each size, when its sparsity budget is tuned along with its other knobs?

The default study of every method: Optuna searches the front of validation accuracy against weights left. Two small timm
architectures on the embedded digits, so that a first look takes minutes; name larger ones for a real one, for example
``bench study sap --task cifar10 --models cifar_resnet20 epochs=60 --trials 50 --gpus 0,1``.
"""

from __future__ import annotations

from typing import Any

from bench.study import Study
from studies._embedded import MODELS, with_recipe


def study(methods: tuple[str, ...], **changes: Any) -> Study:
    """The declaration for given methods, with whatever the command line changes."""
    declared: dict[str, Any] = {
        "kind": "pareto",
        "question": "What accuracy is kept at what share of the weights, when the budget is tuned too?",
        "methods": methods,
        "models": MODELS,
        "controls": ("dense",),
    }
    return Study(**with_recipe({**declared, **changes}))
