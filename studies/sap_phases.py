"""How do the PQ index and accuracy go over SAP's rounds, and what do (p, q), eta, gamma, beta and the scope change?

The ablations of the SAP paper (arXiv:2302.05601) on its four-layer CNN and CIFAR-10. Each variant changes one
parameter; the others are as in the paper's figures: (p, q) = (0.5, 1), eta 0, gamma 1, beta 0.9, global scope,
rewinding to the initialisation. The paper's hypothesis has three phases: regularisation (the index falls, accuracy
holds), compression (the index rises, accuracy falls a little), collapse (both fall). Recipe and three seeds are fixed
and nothing is tuned. SAP itself decides how much it prunes.

    bench study --study sap_phases --gpus 0 --jobs 4

This is smaller than in the paper: 15 prunings and 16 trainings of 15 epochs, against 30 prunings and trainings of 200
epochs there; ``rounds=30 epochs=6200`` gives the paper's size. ``--smoke``: four variants, four prunings, on the
digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.study.kinds import Grid
from bench.study.study import Study, Variant
from studies._embedded import ONE_SEED, merged, only

ORDERS = ((0.2, 1), (0.5, 1), (0.8, 1), (1, 1.4), (1, 2))
SINGLE = {"eta": (0, 0.01, 0.1, 1), "gamma": (0.5, 1, 3), "beta": (0.5, 0.9), "scope": ("neuron", "layer", "global")}
SMOKE = ("p=0.5 q=1", "p=1 q=2", "eta=0.1", "gamma=3")


def variants() -> Iterator[Variant]:
    """Yields the values of each ablation. The paper's own point is in each of them, and is one run."""
    for p, q in ORDERS:
        yield Variant(f"p={p} q={q}", "sap", (f"p={p}", f"q={q}"), "pq")
    for name, values in SINGLE.items():
        for value in values:
            yield Variant(f"{name}={value}", "sap", (f"{name}={value}",), name)


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """Returns the declaration, with the command line's changes."""
    recipe = ("lr=0.1", "weight_decay=5e-4", "batch=250", "clip=1", "precision=bf16")
    declared: dict[str, Any] = {
        "kind": Grid(),
        "topic": "sap_phases",
        "question": "How do PQ index and accuracy go over the rounds of SAP, and what do its parameters change?",
        "methods": only(methods, ("sap",), "sap_phases"),
        "models": ("sap_cnn",),
        "task": "cifar10",
        "variants": tuple(variants()),
        "settings": ("scope=global", "rounds=15", "epochs=240", *recipe),
        "controls": ("dense",),
        "figures": ("sap-phases",),
    }
    if smoke:
        small = {"task": "digits", "models": ("test_resnet",), "final_seeds": ONE_SEED}
        few = tuple(v for v in variants() if v.label in SMOKE)
        declared |= {
            **small,
            "variants": few,
            "settings": ("scope=global", "rounds=4", "epochs=10", "lr=0.05", "batch=64"),
        }
    return merged(declared, changes)
