"""Multiply-accumulates of one image, counted by torch and attributed to the weights that take part in them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from bench import layers
from bench.layers import FUNCTIONS, weight_argument


def macs(model: nn.Module, example_shape: tuple[int, int, int, int]) -> dict[str, int]:
    """Counts the multiply-accumulates (half of torch's FLOPs) of one image of shape (any, C, H, W), by weight name.

    The key "" holds the operations of no convolution or linear weight, such as attention's products; the values add up to
    the model's total. Norms, activations and pooling count as 0.

    A copy without storage runs on the meta device, where torch counts fused attention; on a CPU it does not. A model that
    cannot run on the meta device (its control flow depends on values) runs on the CPU with fused attention switched off.
    """
    shape = (1, *example_shape[1:])
    try:
        return _count(_without_storage(model), torch.empty(shape, device="meta"))
    except RuntimeError:
        return _count(_unfused(copy.deepcopy(model).cpu()), torch.zeros(shape))


def _count(model: nn.Module, example: Tensor) -> dict[str, int]:
    """Counts for each weight the operations of its layers and of other modules that use it; the rest under ""."""
    root, stored = type(model).__name__, layers.weights(model)
    paths = {  # as the counter names modules
        name: [f"{root}.{path}".removesuffix(".") for path, _ in users] for name, users in layers.users(model).items()
    }
    elsewhere = {id(weight): paths[name] for name, weight in stored.items()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter, _Borrowed(counter, elsewhere) as borrowed:
        model.eval()(example)
    spent = {path: sum(by_operator.values()) for path, by_operator in counter.get_flop_counts().items()}
    counts = {
        name: (sum(spent.get(path, 0) for path in own) + borrowed.flops[id(stored.get(name))]) // 2
        for name, own in paths.items()
    }
    return {**counts, "": counter.get_total_flops() // 2 - sum(counts.values())}


class _Borrowed(TorchFunctionMode):
    """Counts FLOPs of functions that other modules call on a layer's weight, as timm's BEiT, EVA and Swin v2 do."""

    def __init__(self, counter: FlopCounterMode, paths: Mapping[int, Iterable[str]]) -> None:
        super().__init__()
        self.counter, self.paths, self.flops = counter, paths, Counter[int]()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in FUNCTIONS:
            return func(*args, **kwargs)
        weight = id(weight_argument(args, kwargs))
        before = self.counter.get_total_flops()
        output = func(*args, **kwargs)
        if weight in self.paths and self.counter.mod_tracker.parents.isdisjoint(self.paths[weight]):
            self.flops[weight] += self.counter.get_total_flops() - before
        return output


def _without_storage(model: nn.Module) -> nn.Module:
    """Returns a deep copy on the meta device, without a copy of the weights themselves."""
    memo: dict[int, object] = {}
    for tensor in chain(model.parameters(), model.buffers()):
        empty = torch.empty_like(tensor, device="meta", requires_grad=False)
        if isinstance(tensor, nn.Parameter):
            empty = nn.Parameter(empty, requires_grad=False)
        memo[id(tensor)] = empty
    for module in model.modules():  # a weight that a hook makes of parameters, as the older weight norm's
        for tensor in vars(module).values():
            if isinstance(tensor, Tensor):
                memo.setdefault(id(tensor), torch.empty_like(tensor, device="meta", requires_grad=False))
    return copy.deepcopy(model, memo)


def _unfused(model: nn.Module) -> nn.Module:
    """Switches fused attention off in place: timm reads its setting when it builds a model, so the modules must change."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
    return model
