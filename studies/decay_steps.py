"""How long should a channel take to leave, when is it given back, and what becomes of those that were?

The Decay Pruning Method (arXiv:2406.03879) inside DepGraph on CIFAR-10 with ResNet-20, to half the MACs:

- "steps": N from 1 (the host alone) to 500, smooth pruning only, and with self-rectifying at its default thresholds.
- "release": N = 50 and the thresholds of self-rectifying (a reconstruction), each of C_rate and of C_len, in each of the three
  readings of C_len. The curves hold how many channels were released, and how many of those are left in the end.

Fixed: epochs, recipe, three seeds; nothing is tuned.

    bench study --study decay_steps start=cifar10_resnet20.safetensors epochs=20 lr=0.01

``--smoke``: three N and two thresholds on the digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.study.kinds import Grid
from bench.study.study import Study, Variant
from studies._embedded import ONE_SEED, merged, only

HOST = "depgraph"
BASE = ("final=0.5", "leave.how=decay")
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
RATES = (0.0, 0.01, 0.03, 0.1, 0.3)
LENGTHS: dict[str, tuple[float, ...]] = {
    "gain": (0.01, 0.1, 1.0),
    "relative": (1e-4, 1e-3, 1e-2),
    "remaining": (0.1, 0.3, 0.5),
}


def steps(values: tuple[int, ...]) -> Iterator[Variant]:
    """Yields both policies at each N."""
    for policy, rectify in (("SP", "false"), ("SR", "true")):
        for n in values:
            settings = (*BASE, f"leave.steps={n}", f"leave.rectify={rectify}")
            yield Variant(f"{policy} N={n}", HOST, settings, "steps", {"steps": n})


def release(rates: tuple[float, ...], lengths: dict[str, tuple[float, ...]]) -> Iterator[Variant]:
    """Yields each threshold of C_rate with the smallest of C_len, and each of C_len with the smallest of C_rate."""
    for variant, values in lengths.items():
        pairs = [(rate, values[0]) for rate in rates] + [(rates[0], length) for length in values[1:]]
        for rate, length in pairs:
            own = (f"leave.variant={variant}", f"leave.rate={rate:g}", f"leave.length={length:g}")
            settings = (*BASE, "leave.steps=50", "leave.rectify=true", *own)
            facts = {"rate": rate, "length": length}
            yield Variant(f"{variant} rate>{rate:g} length>{length:g}", HOST, settings, "release", facts)


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """Returns the declaration, with the command line's changes."""
    variants = (*steps(STEPS), *release(RATES, LENGTHS))
    declared: dict[str, Any] = {
        "kind": Grid(),
        "topic": "decay_steps",
        "question": "How long should a channel take to leave, when is it given back, and what becomes of those that were?",
        "methods": only(methods, (HOST,), "decay_steps"),
        "models": ("cifar_resnet20",),
        "task": "cifar10",
        "variants": variants,
        "settings": ("prune=0.3", "epochs=60", "lr=0.1", "batch=128", "precision=bf16"),
        "controls": ("dense",),
        "figures": ("decay",),
    }
    if smoke:
        small = {"task": "digits", "models": ("test_resnet",), "final_seeds": ONE_SEED}
        few = (*steps((1, 10, 50)), *release((0.0, 0.1), {"gain": (0.01,)}))
        declared |= {**small, "variants": few, "settings": ("prune=0.4", "epochs=10", "lr=0.05", "batch=64")}
    return merged(declared, changes)
