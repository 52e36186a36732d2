"""How much of the MACs that are removed is time saved, on which architectures, and does a round number of channels help?

DepGraph removes channels until a share of the MACs is gone, and leaves multiples of `round_to` channels where it can.
Then each model and its dense model are timed in turns: with one image, and with the batch at which the dense model
computes the most images per second; eager and compiled; in fp32, and in bf16 where the hardware computes in it. There
is one short epoch, as training is not the question: accuracies mean nothing here. All of these models take 64 pixels;
CIFAR's networks are made for 32, the others for 224. At their usual size, on a GPU:

    bench study --study real_speed --gpus 0 image_size=224
    bench speed --two-four                                  # the kernels that use zeros

Where the method's tolerance does not allow a round number (three widths of 16 to 64 channels and round_to=32), single
channels are removed. A masked model is not in this study, as it is not faster. ``--smoke``: one small model, eager
only.
"""

from __future__ import annotations

from typing import Any

from bench.measure.speed import MODES
from bench.study.kinds import Grid
from bench.study.study import Study, Variant
from studies._embedded import ONE_SEED, merged, only

CIFAR = ("cifar_resnet20", "cifar_resnet56", "cifar_vgg16_bn")
TIMM = ("resnet18", "mobilenetv2_100", "efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224")
ROUND = (1, 8, 32)
REMOVED = (0.25, 0.5, 0.75)


def variants(removed: tuple[float, ...], rounds: tuple[int, ...]) -> tuple[Variant, ...]:
    """Returns each share of the MACs with each rounding; a curve is of one rounding."""
    return tuple(
        Variant(
            f"round_to={number} final={share}",
            "depgraph",
            (f"round_to={number}", f"final={share}"),
            f"round_to={number}",
            {"round_to": number},
        )
        for number in rounds
        for share in removed
    )


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """Returns the declaration, with the command line's changes."""
    declared: dict[str, Any] = {
        "kind": Grid(),
        "topic": "real_speed",
        "question": "How much of the MACs that are removed is time saved, and does a round number of channels help?",
        "methods": only(methods, ("depgraph",), "real_speed") or ("depgraph",),
        "models": (*CIFAR, *TIMM),
        "task": "digits",
        "variants": variants(REMOVED, ROUND),
        "settings": ("epochs=1", "lr=0.01", "batch=64", "clip=1", "image_size=64", "budget=macs"),
        "final_seeds": ONE_SEED,
        "figures": ("speed",),
        "lenient": True,
        "speed": MODES,
    }
    if smoke:
        declared |= {"models": ("test_resnet",), "variants": variants((0.5, 0.8), (1, 8)), "speed": MODES[:1]}
        declared["settings"] = ("epochs=1", "lr=0.01", "batch=64", "clip=1", "image_size=32", "budget=macs")
    return merged(declared, changes)
