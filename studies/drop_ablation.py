"""What do dropping away and dropping back each contribute to Drop Pruning, and where does a probability lead?

Two comparisons on CIFAR-10 with ResNet-20, with the fields that are not named at their defaults:

- "parts": away only, back only and both at each of three targets, as in the paper's ablation (arXiv:1812.02035).
- "equilibrium": the sparsity that constant probabilities settle at, for both rules for what is unimportant (R1, a fixed
  fraction of the live weights; R2, what lies outside the target) and both orders, without the projection onto the target.
  Beside each result stands the fixed point that `methods.drop.equilibrium_sparsity` predicts.

Fixed: epochs, recipe, three seeds; nothing is tuned.

    bench study --study drop_ablation --gpus 0 --jobs 8

``--smoke``: one target and two probabilities on the digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.study.kinds import Grid
from bench.study.study import Study, Variant
from methods.drop import equilibrium_sparsity
from studies._embedded import ONE_SEED, merged, only

PARTS = {"away": "away only", "back": "back only", "both": "both"}
RULES = {"R1": "fraction", "R2": "target"}
BACKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
AWAY, FRACTION, TARGET = 0.5, 0.3, 0.9


def parts(targets: tuple[float, ...]) -> Iterator[Variant]:
    """Yields each part alone and both together, at each target."""
    for target in targets:
        for part, label in PARTS.items():
            settings = (f"parts={part}", f"final={target}")
            yield Variant(f"{label} {target:g}", "drop", settings, "parts", {"target": target})


def equilibrium(backs: tuple[float, ...]) -> Iterator[Variant]:
    """Yields constant probabilities without a projection, with the sparsity at which they should settle.

    Weights come back with their last value: a weight that came back as 0 and never got a gradient would count as pruned.
    """
    always = (f"away={AWAY}", f"fraction={FRACTION}", f"final={TARGET}", "back_schedule=constant", "recover=last")
    for rule, name in RULES.items():
        for order in ("simultaneous", "sequential"):
            for back in backs:
                predicted = equilibrium_sparsity(
                    rule=rule, away=AWAY, back=back, fraction=FRACTION, target=TARGET, order=order
                )
                settings = (f"rule={name}", f"order={order}", f"back={back}", *always, "project=false")
                facts = {"back": back, "predicted": predicted}
                yield Variant(f"{rule} back={back:g} {order}", "drop", settings, "equilibrium", facts)


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """Returns the declaration, with the command line's changes."""
    targets, backs = ((0.9,), (0.02, 0.1)) if smoke else ((0.8, 0.9, 0.95), BACKS)
    declared: dict[str, Any] = {
        "kind": Grid(),
        "topic": "drop_ablation",
        "question": "What do dropping away and dropping back contribute, and which sparsity do their probabilities lead to?",
        "methods": only(methods, ("drop",), "drop_ablation"),
        "models": ("cifar_resnet20",),
        "task": "cifar10",
        "variants": (*parts(targets), *equilibrium(backs)),
        "settings": ("rounds=40", "epochs=60", "lr=0.1", "batch=128", "precision=bf16"),
        "controls": ("dense",),
        "figures": ("equilibrium",),
    }
    if smoke:
        small = {"task": "digits", "models": ("test_resnet",), "final_seeds": ONE_SEED}
        declared |= {**small, "settings": ("rounds=40", "epochs=5", "lr=0.05", "batch=64")}
    return merged(declared, changes)
