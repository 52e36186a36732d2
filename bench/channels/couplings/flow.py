"""Following a model's channels: which axes its tensors have, learnt from the operations of one forward pass.

`follow` runs a model on images and looks at every ATen operation, some eighty of them in all of timm. Each says how the
dimensions of its output come from those of its inputs, and which of them must be the same (`bench.channels.couplings.axes`): an
addition, that channel i is channel i; a matrix product, that rows meet columns; a concatenation, that one follows the other.
An operation without a rule fixes everything that it touches: its channels stay, and nothing is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.channels.couplings.axes import Dim, extent, fixed, freeze, fresh, mix, resolve, unify

Dims: TypeAlias = list[Dim]
Rule: TypeAlias = Callable[["Flow", dict[str, Any], Any], Any]
RULES: dict[str, Rule] = {}


@dataclass
class Flow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The dimensions of every tensor that one forward pass has seen."""

    model: nn.Module
    unknown: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known: dict[int, tuple[Tensor, Dims]] = {}  # holding the tensor keeps its id from being used again
        self.read: set[int] = set()
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            self.known[id(tensor)] = (tensor, [fresh(n) for n in tensor.shape])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        schema, name = func._schema, func._schema.name.removeprefix("aten::")
        bound = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        bound |= dict(zip((a.name for a in schema.arguments), args, strict=False)) | kwargs
        found = RULES.get(name) or RULES.get(name.removesuffix("_"))
        if found is None and torch.Tag.pointwise in func.tags:
            found = pointwise
        if found is None:
            found = opaque
            if any(isinstance(t, Tensor) for t in tree_leaves(bound)):
                self.unknown[name] += 1
        self.note(out, found(self, bound, out))
        return out

    def note(self, out: Any, dims: Any) -> None:
        """Remember the dimensions of the outputs; those that were written in place had some already."""
        outs = [out] if isinstance(out, Tensor) else list(out) if isinstance(out, (tuple, list)) else []
        found = [dims] if isinstance(out, Tensor) else dims
        for tensor, new in zip(outs, found, strict=False):
            if not isinstance(tensor, Tensor):
                continue
            new = new if new is not None else [fixed(n) for n in tensor.shape]
            if [extent(d) for d in new] != list(tensor.shape):
                raise ValueError(f"a rule gave the sizes {[extent(d) for d in new]} to {tuple(tensor.shape)}")
            if id(tensor) in self.known:
                for old, other in zip(self.known[id(tensor)][1], new, strict=True):
                    unify(old, other)
            else:
                self.known[id(tensor)] = (tensor, new)

    def of(self, tensor: Tensor) -> Dims:
        """The dimensions of a tensor; those of one made on the way are fixed."""
        self.read.add(id(tensor))
        if id(tensor) not in self.known:
            return [fixed(n, "a constant of this size") for n in tensor.shape]
        return [resolve(d) for d in self.known[id(tensor)][1]]


class _Scaled(TorchFunctionMode):
    """Attention takes its scale from the size of its queries where it is told none: no operation below shows that."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention and kwargs.get("scale") is None:
            mix(self.flow.of(args[0] if args else kwargs["query"])[-1])
        return func(*args, **kwargs)


def follow(flow: Flow, images: Tensor) -> None:
    """Run a model in eval mode on one image (1, C, H, W); its outputs' dimensions are fixed by the classes."""
    flow.known[id(images)] = (images, [fixed(n) for n in images.shape])
    with torch.no_grad(), flow, _Scaled(flow):
        out = flow.model(images)
    for tensor in tree_leaves(out):
        if isinstance(tensor, Tensor):
            for dim in flow.of(tensor):
                freeze(dim, "the classes")


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enter the rule of some ATen operations: told (flow, arguments by name, output), it gives the output's dimensions, or
    a list of them where there are several outputs, None for those of which nothing is known."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


def opaque(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    """Nothing is known: whatever comes in stays."""
    for tensor in tree_leaves(a):
        if isinstance(tensor, Tensor):
            for dim in flow.of(tensor):
                freeze(dim, "an operation without a rule")
    return [None] * len(out) if isinstance(out, (tuple, list)) else None


@rule("clone", "copy", "alias", "detach", "_to_copy", "lift_fresh", "contiguous", "native_dropout", "zeros_like")
@rule(
    "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "hardswish", "hardsigmoid", "hardtanh", "prelu"
)
def pointwise(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    """Elementwise with broadcasting: what is not of size 1 is the same."""
    tensors = [flow.of(t) for t in tree_leaves(a) if isinstance(t, Tensor)]
    if isinstance(out, Tensor):
        return broadcast(tensors, out.shape)
    return [broadcast(tensors, out[0].shape), *[None] * (len(out) - 1)]


def broadcast(tensors: Sequence[Dims], shape: Sequence[int]) -> Dims:
    """The dimensions of what several tensors are broadcast to."""
    rank = len(shape)
    return [same([t[d - rank] for t in tensors if len(t) >= rank - d], n) for d, n in enumerate(shape)]


def same(dims: Sequence[Dim], size: int) -> Dim:
    """One dimension out of those that are broadcast to it."""
    full = [d for d in dims if extent(d) == size]
    for other in full[1:]:
        unify(full[0], other)
    return full[0] if full else fixed(size)
