"""What a model's parameters are: kinds of weights, and what the parameters are that are no weights of layers."""

from __future__ import annotations

from torch import nn

from bench import masks

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def kinds(model: nn.Module) -> dict[str, str]:
    """The kind of each convolution or linear weight, by parameter name: "classifier", "linear", "depthwise" (one filter to
    each input channel), "pointwise" (1 x 1) or "convolution"."""
    found, heads = dict[str, str](), {id(m) for m in masks.classifier_modules(model)}
    heads |= {id(part) for head in masks.classifier_modules(model) for part in head.modules()}
    modules = dict(model.named_modules())
    for name in masks.prunable(model, classifier=True):
        module = modules[name.removesuffix("weight").removesuffix(".")]
        found[name] = "classifier" if id(module) in heads else _kind(module)
    return found


def _kind(module: nn.Module) -> str:
    if not isinstance(module, CONVOLUTIONS):
        return "linear"
    if module.groups == module.in_channels > 1:
        return "depthwise"
    return "pointwise" if set(module.kernel_size) == {1} else "convolution"


def others(model: nn.Module) -> dict[str, float]:
    """Parameters that are no convolution or linear weights: "params/norms" (of modules that are called norms),
    "params/biases" (of convolutions and linear layers) and "params/other" (embeddings, tables, tokens, scales, recurrent
    weights). A parameter that two modules share counts once."""
    counts = {"params/norms": 0.0, "params/biases": 0.0, "params/other": 0.0}
    seen = {id(weight) for weight in masks.prunable(model, classifier=True).values()}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            bias = name == "bias" and isinstance(module, masks.LAYERS)
            kind = "biases" if bias else "norms" if "norm" in type(module).__name__.lower() else "other"
            counts[f"params/{kind}"] += parameter.numel()
    return counts
