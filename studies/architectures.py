"""What of each architecture can be pruned, where does the method fail, and why?

One method (`gradual`, or another that is named) at 80 % on the smallest member of many families of timm: residual,
mobile, plain and dense CNNs, ConvNeXt, transformers with and without windows, MLPs, and mixed architectures. A family
that cannot be built for the images, or where the method cannot act, is recorded as a failure with its reason. The
figure shows how the parameters divide into prunable ones, those of the classifier, and norms, biases, embeddings and
tables, which no method removes here. Epochs, recipe and seeds are fixed and nothing is tuned: an accuracy is comparable
with that of the same model's dense control only.

    bench study --study architectures --gpus 0 --jobs 4
    bench study rigl --study architectures sparsity=0.9 --gpus 0 --jobs 4

Full size is CIFAR-10; each model is fed 32 x 32 pixels where it takes them, and more where it needs them. ``--smoke``:
timm's tiny test models and a small MLP on the digits.
"""

from __future__ import annotations

from typing import Any

from bench import registry
from bench.study.kinds import Grid
from bench.study.study import Study, Variant, key_of
from studies._embedded import ONE_SEED, merged

CNNS = ("resnet18", "regnetx_002", "densenet121", "cifar_vgg16_bn", "dla46_c", "repvgg_a0", "nf_resnet26")
MOBILE = ("mobilenetv2_050", "mobilenetv3_small_050", "efficientnet_lite0", "lcnet_050", "tinynet_e", "ghostnet_050")
MODERN = ("convnext_atto", "edgenext_xx_small", "mambaout_femto", "poolformer_s12", "inception_next_atto")
TRANSFORMERS = ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "xcit_nano_12_p16_224", "levit_128s")
MIXED = ("coatnet_nano_rw_224", "maxvit_tiny_rw_224", "mobilevit_xxs", "sequencer2d_s")
MLPS = ("mixer_s16_224", "resmlp_12_224", "gmlp_ti16_224")
TINY = (
    *("test_resnet", "test_byobnet", "test_efficientnet", "test_efficientnet_gn", "test_nfnet", "test_convnext"),
    *("test_convnext2", "test_mambaout", "test_vit", "test_vit3", "test_vit_relpos", "test_coatnet", "gmlp_ti16_224"),
)
SPARSITY = 0.8


def variant(method: str, settings: tuple[str, ...]) -> Variant:
    """Returns the method at `SPARSITY`, if it has a target and the command line sets none."""
    target = registry.load(registry.METHODS, method).METHOD.target
    if target is None or target in map(key_of, settings):
        return Variant("", method)
    return Variant("", method, (f"{target}={SPARSITY}",))


def study(methods: tuple[str, ...], *, smoke: bool = False, **changes: Any) -> Study:
    """Returns the declaration for given methods (default: `gradual`), with the command line's changes."""
    methods = methods or ("gradual",)
    declared: dict[str, Any] = {
        "kind": Grid(),
        "topic": f"architectures-{'-'.join(methods)}",
        "question": "What of each architecture can be pruned, where does the method fail, and why?",
        "methods": methods,
        "models": (*CNNS, *MOBILE, *MODERN, *TRANSFORMERS, *MIXED, *MLPS),
        "task": "cifar10",
        "variants": tuple(variant(m, changes.get("settings", ())) for m in methods),
        "settings": ("epochs=30", "lr=0.05", "batch=128", "warmup=0.1", "clip=1", "precision=bf16"),
        "controls": ("dense",),
        "figures": ("prunable",),
        "lenient": True,
    }
    if smoke:
        small = {"task": "digits", "models": TINY, "final_seeds": ONE_SEED}
        declared |= {**small, "settings": ("epochs=2", "lr=0.05", "batch=64", "clip=1")}
    return merged(declared, changes)
