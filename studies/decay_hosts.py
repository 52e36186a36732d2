"""What do smooth pruning and self-rectifying add to each host, at the same budget and from the same start?

The design of the first table of the Decay Pruning Method (arXiv:2406.03879) on CIFAR-10: each host alone, with smooth
pruning (+SP), and with self-rectifying too (+SR, a reconstruction). DepGraph, with and without sparse learning, prunes
ResNet-56; OTOv2 and Gate Decorator prune VGG-16 with batch norm. The seeds are the same for all, so differences are
paired.

Hosts have their default settings, except for the budget: the paper's share of the MACs, met within 1 %. A decay takes
50 steps, and releases channels at the default thresholds. The shape of each finished model is also trained from an
initialisation, for the same epochs and for the same arithmetic (Liu et al. 2019, arXiv:1810.05270). Without `start` all
hosts begin at an initialisation. It is better to take one model at a time and to give its trained weights; all hosts
then prune that model to half its MACs:

    bench study --study decay_hosts --models cifar_resnet56 start=cifar10_resnet56.safetensors epochs=40 lr=0.01

``--smoke``: all hosts on one small model and the digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bench.study.kinds import Grid
from bench.study.study import Study, Variant
from studies._embedded import ONE_SEED, among, merged

METHODS = ("depgraph", "otov2", "gate_decorator")
HOSTS = {
    "depgraph": ("depgraph", (), "cifar_resnet56", 0.5314),
    "depgraph no SL": ("depgraph", ("sparse=false",), "cifar_resnet56", 0.528),
    "otov2": ("otov2", (), "cifar_vgg16_bn", 0.735),
    "gate_decorator": ("gate_decorator", (), "cifar_vgg16_bn", 0.9014),
}
"""The hosts of the paper's table: method, settings, model, and the share of the MACs that is removed."""

HALF = 0.5
STEPS = 50
POLICIES = {"": (), "+SP": ("leave.how=decay",), "+SR": ("leave.how=decay", "leave.rectify=true")}


def variants(methods: Iterable[str], paper: bool, steps: int = STEPS) -> Iterator[Variant]:
    """Yields each host with each policy, of ``steps`` steps; ``paper``: on the paper's model at the paper's share of the MACs,
    else on any model at half of them."""
    for name, (method, settings, model, removed) in HOSTS.items():
        if method not in methods:
            continue
        if not paper:
            model, removed = "", HALF
        for policy, leave in POLICIES.items():
            label = f"{name.removeprefix(method).strip()} {policy}".strip() or "alone"
            own = (f"final={removed:g}", *settings, *leave)
            if leave:
                own = (*own, f"leave.steps={steps}")
            yield Variant(label, method, own, name, {"macs_left": round(1 - removed, 4)}, model)


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """Returns the declaration, for all hosts or for some, with the command line's changes."""
    chosen = among(methods, METHODS, "decay_hosts")
    paper = not smoke and "models" not in changes
    models = tuple(dict.fromkeys(HOSTS[name][2] for name in HOSTS if HOSTS[name][0] in chosen))
    declared: dict[str, Any] = {
        "kind": Grid(),
        "topic": "decay_hosts",
        "question": "What do smooth pruning and self-rectifying add to each host, at the same budget and from the same start?",
        "methods": chosen,
        "models": models,
        "task": "cifar10",
        "variants": tuple(variants(chosen, paper, 5 if smoke else STEPS)),
        "settings": ("epochs=100", "lr=0.1", "batch=128", "precision=bf16"),
        "controls": ("dense",),
        "derived": ("scratch_epochs", "scratch_macs"),
        "scratch": ("lr=0.1",),
        "figures": ("hosts",),
        "speed": ("eager",),
    }
    if smoke:
        small = {"task": "digits", "models": ("test_resnet",), "final_seeds": ONE_SEED, "derived": (), "speed": ()}
        declared |= {**small, "settings": ("epochs=6", "lr=0.05", "batch=64")}
    return merged(declared, changes)
