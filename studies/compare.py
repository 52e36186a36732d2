"""Which method keeps the most accuracy at a given size, for equal cost, equal tuning and from the same dense model?

The fair comparison is one frozen study: methods x models x budgets x seeds. One dense model is trained for each
architecture and seed. All other runs start from it, with the same steps, recipe and seeds; a ledger counts the steps of
each method. A budget is a share of all parameters of the model, for every method alike (``share_of=params``): what a method
cannot remove is refused with the reason before anything trains.

Controls and baselines are added to the methods: the dense model; the same model trained for as many steps more; random
and magnitude pruning (layer by layer, and over all layers); a smaller dense model trained for all steps from its
initialisation; and for each finished run a model with as many zeros in each layer, in random places. ``--sanity
shuffled,reinit,scratch`` adds new weights in the same shape, and training from scratch.

    bench compare                                              # the embedded default, in minutes, without tuning
    bench compare gradual,sap --trials 20 --task cifar10 --models cifar_resnet20 epochs=60 dense.epochs=60 lr=0.1

With ``--trials`` everything in the table is tuned: methods and baselines, with as many trials of the same sampler, each its
own fields and the learning rate. Without it nothing is: methods run at their defaults, but for what a trained start and few
steps need (`OWN`). The setting of one method has its name in front, as in ``sap.rounds=3``; that of the dense training is
``dense.epochs=20``; other settings are for all runs. ``--smoke``: two methods, one architecture, one budget, one seed.
"""

from __future__ import annotations

from typing import Any

from bench.errors import one_of
from bench.study.kinds import Ladder
from bench.study.study import Baseline, Study
from studies._embedded import MODELS, ONE_SEED, merged, on_digits

METHODS = ("gradual", "sap", "drop", "adaptive", "lottery", "depgraph", "otov2")
SMALL = ("gradual", "depgraph")

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
"""What is not at its default. Methods start from trained weights, so none trains densely first. There are few rounds, so that
each has enough steps. The same weights may be pruned by all. `rigl` and `small_dense` cannot use the dense model, and get
its steps in addition to their own."""

BASELINES = (
    Baseline("dense_on", "dense"),
    Baseline("random", "oneshot", ("criterion=random", "allocation=uniform", "when=0")),
    Baseline("magnitude_uniform", "oneshot", ("criterion=magnitude", "allocation=uniform", "when=0")),
    Baseline("magnitude_global", "oneshot", ("criterion=magnitude", "allocation=global", "when=0")),
    Baseline("smaller_dense", "small_dense", ("start=",)),
)
SIZE = "share_of=params"
"""One size in each cell: the budget counts all parameters, for methods that mask weights and for those that remove channels."""

TUNED = ("lr",)
"""Of the recipe, where there are trials: for methods and baselines alike, so that each has something to tune."""

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
    """Returns the declaration, for the default methods or for given ones, with the command line's changes."""
    chosen = methods or (SMALL if smoke else METHODS)
    shared, own, dense = _sorted(changes.pop("settings", ()), chosen)
    declared: dict[str, Any] = {
        "kind": Ladder(),
        "topic": "compare",
        "question": "Which method keeps the most accuracy at a given size, for equal cost, equal tuning and from the same "
        "dense model?",
        "methods": chosen,
        "models": MODELS,
        "task": "digits",
        "targets": (0.5, 0.8, 0.9),
        "settings": (SIZE, *on_digits(changes, ("epochs=6", "batch=64", "lr=0.05"))),
        "own": {name: (*OWN.get(name, ()), *own[name]) for name in chosen if OWN.get(name) or own[name]},
        "dense": (*on_digits(changes, ("epochs=10",)), *dense),
        "trials": 0,
        "controls": ("dense",),
        "derived": ("random_ratios",),
        "baselines": BASELINES,
        "baseline": "magnitude_uniform",
        "figures": FIGURES,
        "frozen": True,
    }
    if changes.get("trials"):
        declared["tuned_recipe"] = TUNED
    if smoke:
        small = {"models": MODELS[1:], "targets": (0.8,), "final_seeds": ONE_SEED}
        declared |= {**small, "settings": (SIZE, "epochs=2", "batch=64", "lr=0.05"), "dense": ("epochs=3", *dense)}
    return merged(declared, {**changes, "settings": shared})


def _sorted(
    settings: tuple[str, ...], methods: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Settings for all runs, those of single methods, and those of the dense training, told apart by the name before a dot."""
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
