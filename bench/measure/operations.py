"""Multiply-accumulates of one image, counted by torch itself and told apart by the weight that they belong to."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from bench import masks

FUNCTIONS = (F.linear, F.conv1d, F.conv2d, F.conv3d)


def macs(model: nn.Module, example_shape: tuple[int, int, int, int]) -> dict[str, int]:
    """Multiply-accumulates for one image of (any, C, H, W), half of torch's FLOPs, by weight name.

    The key "" holds what belongs to no convolution or linear weight (such as attention's products), so that the values
    add up to the whole. Norms, activations and pooling count nothing.

    A copy without storage is counted on the meta device, where fused attention is seen; on a CPU it is not, so a model
    that cannot run there (its control flow looks at values) is counted on the CPU with fused attention off.
    """
    shape = (1, *example_shape[1:])
    try:
        return _count(_without_storage(model), torch.empty(shape, device="meta"))
    except RuntimeError:
        return _count(_unfused(copy.deepcopy(model).cpu()), torch.zeros(shape))


def _count(model: nn.Module, example: Tensor) -> dict[str, int]:
    """What each weight's layers spend, and what other modules spend on that weight; the rest under ""."""
    weights, root = masks.prunable(model, classifier=True), type(model).__name__
    paths: dict[int, list[str]] = {id(weight): [] for weight in weights.values()}
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, masks.LAYERS):
            paths[id(module.weight)].append(f"{root}.{path}".removesuffix("."))  # as the counter names modules
    with torch.no_grad(), FlopCounterMode(display=False) as counter, _Borrowed(counter, paths) as borrowed:
        model.eval()(example)
    spent = {path: sum(by_operator.values()) for path, by_operator in counter.get_flop_counts().items()}
    counts = {
        name: (sum(spent.get(path, 0) for path in paths[id(weight)]) + borrowed.flops[id(weight)]) // 2
        for name, weight in weights.items()
    }
    return {**counts, "": counter.get_total_flops() // 2 - sum(counts.values())}


class _Borrowed(TorchFunctionMode):
    """FLOPs of functions called on a layer's weight outside of that layer, as timm's BEiT, EVA and Swin v2 do."""

    def __init__(self, counter: FlopCounterMode, paths: Mapping[int, Iterable[str]]) -> None:
        super().__init__()
        self.counter, self.paths, self.flops = counter, paths, Counter[int]()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in FUNCTIONS:
            return func(*args, **kwargs)
        weight = id(kwargs["weight"] if "weight" in kwargs else args[1])
        before = self.counter.get_total_flops()
        output = func(*args, **kwargs)
        if weight in self.paths and self.counter.mod_tracker.parents.isdisjoint(self.paths[weight]):
            self.flops[weight] += self.counter.get_total_flops() - before
        return output


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
