"""Which method keeps the most accuracy at a given size, for equal cost, equal tuning and from the same dense model?

The fair comparison, as one frozen study: methods x models x budgets x seeds. For each architecture and seed one dense model is
trained; everything else starts from it, with the same steps, recipe and seeds, and is charged to a ledger. Budgets are shares
of the weights: unstructured methods mask that share of the convolution and linear weights without the classifier's, structured
ones remove that share of all parameters (`budget=params`).

Besides the methods run, unasked: the dense model, the same trained on for as many steps, random and magnitude pruning (layer by
layer, and over all), a smaller dense model trained for all steps from the start, and for each finished run the same number of
zeros in each layer in random places. ``--sanity shuffled,reinit,scratch`` adds fresh weights and training from scratch.

    bench compare                                              # the embedded default, in minutes, without tuning
    bench compare gradual,sap --trials 20 --task cifar10 --models cifar_resnet20 epochs=60 dense.epochs=60 lr=0.1

Without ``--trials`` methods run as they are set: at their defaults but for what a trained start and few steps demand (`OWN`).
A setting of one method is written with its name, ``sap.rounds=3``, one of the dense training ``dense.epochs=20``; others are
for all. ``--smoke``: two methods, one architecture, one budget, one seed.
"""

from __future__ import annotations

from typing import Any

from bench.errors import one_of
from bench.study.kinds import Ladder
from bench.study.study import Baseline, Study
from studies._embedded import MODELS, ONE_SEED, merged

METHODS = ("gradual", "sap", "drop", "adaptive", "lottery", "depgraph", "otov2")

OWN = {
    "gradual": ("end=0.5",),
    "sap": ("rounds=2", "classifier=false"),
    "drop": ("dense=0", "rounds=10"),
    "adaptive": ("classifier=false", "minimum=100"),
    "lottery": ("rate=0.5",),
    "rigl": ("start=",),
    "oneshot": ("when=0",),
    "depgraph": ("budget=params", "learn=0.2"),
    "otov2": ("budget=params",),
    "gate_decorator": ("budget=params", "learn=0"),
    "decay": ("budget=params",),
    "small_dense": ("start=",),
}
"""What is not at its default. Each starts from trained weights, so none trains densely first; rounds are few, so that each has
steps enough; the weights that may be pruned are the same for all; `rigl` and `small_dense` cannot use the dense model, and get
its steps besides."""

BASELINES = (
    Baseline("dense_on", "dense"),
    Baseline("random", "oneshot", ("criterion=random", "when=0")),
    Baseline("magnitude_uniform", "oneshot", ("allocation=uniform", "when=0")),
    Baseline("magnitude_global", "oneshot", ("allocation=global", "when=0")),
    Baseline("smaller_dense", "small_dense", ("start=",)),
)
FIGURES = (
    "comparison",
    "overall",
    "sanity",
    "ledger",
    "profiles",
    "ranks",
    "improvement",
    "costs",
    "allocation",
    "card",
)


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """The declaration, for the default methods or for given ones, with whatever the command line changes."""
    chosen = methods or METHODS[:1] + METHODS[5:6] if smoke else methods or METHODS
    shared, own, dense = _sorted(changes.pop("settings", ()), chosen)
    digits = changes.get("task", "digits") == "digits"
    declared: dict[str, Any] = {
        "kind": Ladder(),
        "topic": "compare",
        "question": "Which method keeps the most accuracy at a given size, for equal cost, equal tuning and from the same "
        "dense model?",
        "methods": chosen,
        "models": MODELS,
        "task": "digits",
        "targets": (0.5, 0.8, 0.9),
        "settings": ("epochs=6", "batch=64", "lr=0.05") if digits else (),
        "own": {name: (*OWN.get(name, ()), *own[name]) for name in chosen if OWN.get(name) or own[name]},
        "dense": (*(("epochs=10",) if digits else ()), *dense),
        "trials": 0,
        "controls": ("dense",),
        "derived": ("random_ratios",),
        "baselines": BASELINES,
        "baseline": "magnitude_uniform",
        "figures": FIGURES,
        "frozen": True,
    }
    if smoke:
        small = {"models": MODELS[1:], "targets": (0.8,), "final_seeds": ONE_SEED}
        declared |= {**small, "settings": ("epochs=2", "batch=64", "lr=0.05"), "dense": ("epochs=3", *dense)}
    return merged(declared, {**changes, "settings": shared})


def _sorted(
    settings: tuple[str, ...], methods: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Settings for all, those of single methods, and those of the dense training, by the name before the first dot."""
    shared, own, dense = list[str](), {name: tuple[str, ...]() for name in methods}, list[str]()
    for setting in settings:
        name, dot, rest = setting.partition("=")[0].partition(".")
        if dot and name == "dense":
            dense.append(setting.removeprefix("dense."))
        elif dot and name in methods:
            own[name] += (setting.removeprefix(f"{name}."),)
        elif dot and rest and name not in ("recipe", "method", "leave"):
            raise one_of("method with a setting of its own", name, (*methods, "dense"))
        else:
            shared.append(setting)
    return tuple(shared), own, tuple(dense)
