"""How accurate is the method at each of several given sparsities, when its other knobs are tuned for that sparsity?

One Optuna study per target; the best validation accuracy is chosen at each.
"""

from __future__ import annotations

from typing import Any

from bench.study import Study
from studies._embedded import MODELS, with_recipe


def study(methods: tuple[str, ...], **changes: Any) -> Study:
    """The declaration for given methods, with whatever the command line changes."""
    declared: dict[str, Any] = {
        "kind": "ladder",
        "question": "What accuracy is kept at each given sparsity?",
        "methods": methods,
        "models": MODELS,
        "targets": (0.8, 0.9, 0.95),
        "controls": ("dense",),
    }
    return Study(**with_recipe({**declared, **changes}))
