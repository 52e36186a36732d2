"""Kinds of a model's parameters: the kind of each layer's weight, and counts of all other parameters."""

from __future__ import annotations

from torch import nn

from bench import layers

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def kinds(model: nn.Module) -> dict[str, str]:
    """Returns the kind of each convolution or linear weight, by parameter name: "classifier", "linear", "depthwise" (one
    filter for each input channel), "pointwise" (1 x 1) or "convolution"."""
    found, heads = dict[str, str](), {id(m) for m in layers.classifier_modules(model)}
    heads |= {id(part) for head in layers.classifier_modules(model) for part in head.modules()}
    for name, users in layers.users(model).items():
        module = users[0][1]
        found[name] = _kind(module)
        if id(module) in heads:
            found[name] = "classifier"
    return found


def _kind(module: nn.Module) -> str:
    if not isinstance(module, CONVOLUTIONS):
        return "linear"
    if layers.is_depthwise(module):
        return "depthwise"
    if set(module.kernel_size) == {1}:
        return "pointwise"
    return "convolution"


def others(model: nn.Module) -> dict[str, float]:
    """Counts the parameters that are not convolution or linear weights.

    A parameter that two modules share counts once.

    Returns:
        "params/norms" (of modules whose class name contains "norm"), "params/biases" (of convolutions and linear layers) and
        "params/other" (embeddings, tables, tokens, scales, recurrent weights).
    """
    counts = {"params/norms": 0.0, "params/biases": 0.0, "params/other": 0.0}
    seen = {id(weight) for weight in layers.weights(model).values()}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            counts[_other_kind(name, module)] += parameter.numel()
    return counts


def _other_kind(name: str, module: nn.Module) -> str:
    if name == "bias" and isinstance(module, layers.LAYERS):
        return "params/biases"
    if "norm" in type(module).__name__.lower():
        return "params/norms"
    return "params/other"
