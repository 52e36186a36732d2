"""Multiply-accumulates of one image, counted by torch itself and told apart by the weight that they belong to."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench import masks


def macs(model: nn.Module, example_shape: tuple[int, int, int, int]) -> dict[str, int]:
    """Multiply-accumulates for one image of (any, C, H, W), half of torch's FLOPs, by weight name.

    The key "" holds what belongs to no convolution or linear weight (attention products, weights used by a function
    rather than by their layer), so that the values add up to the whole. Norms, activations and pooling count nothing.

    A copy without storage is counted on the meta device, where fused attention is seen; on a CPU it is not, so a model
    that cannot run there (its control flow looks at values) is counted on the CPU with fused attention off.
    """
    shape = (1, *example_shape[1:])
    try:
        copied = _without_storage(model)
        flops = _flops(copied, torch.empty(shape, device="meta"))
    except RuntimeError:
        copied = _unfused(copy.deepcopy(model).cpu())
        flops = _flops(copied, torch.zeros(shape))
    counts = dict.fromkeys(masks.prunable(model, classifier=True), 0)
    names = {id(weight): name for name, weight in masks.prunable(copied, classifier=True).items()}
    for path, module in copied.named_modules(remove_duplicate=False):
        if isinstance(module, masks.LAYERS):
            counts[names[id(module.weight)]] += flops(path) // 2
    return {**counts, "": flops(None) // 2 - sum(counts.values())}


def _flops(model: nn.Module, example: Tensor) -> Callable[[str | None], int]:
    """The FLOPs of one forward pass, of the module at a path or (None) of the whole."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(example)
    found, root = counter.get_flop_counts(), type(model).__name__

    def of(path: str | None) -> int:
        key = "Global" if path is None else f"{root}.{path}".removesuffix(".")
        return sum(found.get(key, {}).values())

    return of


def _without_storage(model: nn.Module) -> nn.Module:
    """A deep copy on the meta device; the weights themselves are not copied on the way."""
    memo: dict[int, object] = {}
    for tensor in chain(model.parameters(), model.buffers()):
        empty = torch.empty_like(tensor, device="meta", requires_grad=False)
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(model, memo)


def _unfused(model: nn.Module) -> nn.Module:
    """Fused attention off: timm reads its switch when it builds a model, so change what the modules remember."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
    return model
