"""At the same number of weights, is a large model pruned better than a small one trained dense? (Zhu and Gupta 2017)

The question of arXiv:1710.01878 on two timm families, MobileNetV3 and ResNet, on CIFAR-10 at 64 x 64 pixels. The large
model gets fewer weights either by `gradual` pruning, or by `small_dense`: a narrower or shallower model of the family
with as many parameters. Both get the same epochs, the same recipe and the same trials at each size. The figure shows
both over non-zero weights and over bytes, those of the mask included, with the paper's table 2 (MobileNetV1, ImageNet).

    bench study --study large_sparse_small_dense --gpus 0 --jobs 4

Another method that is named replaces `gradual`: ``bench study rigl --study large_sparse_small_dense``.
``--smoke``: two small timm models on the digits at two sizes.
"""

from __future__ import annotations

from typing import Any

from bench.study.kinds import Ladder
from bench.study.study import Study
from studies._embedded import MODELS, ONE_SEED, merged

SMALL = "small_dense"


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """Returns the declaration for given methods (default: `gradual`) and `small_dense`, with the command line's changes."""
    declared: dict[str, Any] = {
        "kind": Ladder(),
        "topic": "large_sparse_small_dense",
        "question": "At the same number of weights, is a large model pruned better than a small one trained dense?",
        "methods": (*(m for m in methods or ("gradual",) if m != SMALL), SMALL),
        "models": ("mobilenetv3_large_100", "resnet50"),
        "task": "cifar10",
        "targets": (0.5, 0.75, 0.875, 0.9, 0.95),
        "settings": ("epochs=60", "image_size=64", "lr=0.1", "warmup=0.05", "batch=128", "precision=bf16"),
        "trials": 10,
        "controls": ("dense",),
        "figures": ("roads",),
    }
    if smoke:
        small = {"task": "digits", "models": MODELS, "targets": (0.5, 0.9), "trials": 1, "final_seeds": ONE_SEED}
        declared |= {**small, "settings": ("epochs=6", "lr=0.05", "batch=64")}
    return merged(declared, changes)
