"""The trace of a model: the axes of its tensors, found from the operations of one forward pass.

`follow` runs a model on images and applies a rule to each ATen operation (all of timm uses about eighty). A rule gives the
dimensions of the output from those of the inputs, and which dimensions must be equal (`bench.channels.couplings.axes`): in an
addition, channel i is channel i; in a matrix product, columns of one factor are rows of the other; in a concatenation, one
part follows the other. An operation without a rule fixes all dimensions of its inputs: their channels cannot be removed.
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
    """The dimensions of each tensor in one forward pass. ``unknown`` counts operations without a rule."""

    model: nn.Module
    unknown: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known: dict[int, tuple[Tensor, Dims]] = {}  # a reference to the tensor keeps its id unique
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
        """Stores the dimensions of the outputs; an output that was written in place has dimensions already."""
        if isinstance(out, Tensor):
            out, dims = [out], [dims]
        if not isinstance(out, (tuple, list)):
            return
        for tensor, new in zip(out, dims, strict=False):
            if not isinstance(tensor, Tensor):
                continue
            if new is None:
                new = [fixed(n) for n in tensor.shape]
            if [extent(d) for d in new] != list(tensor.shape):
                raise ValueError(f"a rule gave the sizes {[extent(d) for d in new]} to {tuple(tensor.shape)}")
            if id(tensor) in self.known:
                for old, other in zip(self.known[id(tensor)][1], new, strict=True):
                    unify(old, other)
            else:
                self.known[id(tensor)] = (tensor, new)

    def of(self, tensor: Tensor) -> Dims:
        """Returns the dimensions of a tensor; those of a constant, made during the forward pass, are fixed."""
        self.read.add(id(tensor))
        if id(tensor) not in self.known:
            return [fixed(n, "a constant of this size") for n in tensor.shape]
        return [resolve(d) for d in self.known[id(tensor)][1]]


class _Scaled(TorchFunctionMode):
    """Marks queries as mixed where attention takes its scale from their size; no ATen operation shows that."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention and kwargs.get("scale") is None:
            query = kwargs.get("query")
            if args:
                query = args[0]
            mix(self.flow.of(query)[-1])
        return func(*args, **kwargs)


def follow(flow: Flow, images: Tensor) -> None:
    """Traces a model in eval mode on one image (1, C, H, W); the classes fix the dimensions of its outputs."""
    flow.known[id(images)] = (images, [fixed(n) for n in images.shape])
    with torch.no_grad(), flow, _Scaled(flow):
        out = flow.model(images)
    for tensor in tree_leaves(out):
        if isinstance(tensor, Tensor):
            for dim in flow.of(tensor):
                freeze(dim, "the classes")


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers the rule of some ATen operations.

    A rule takes (flow, arguments by name, output) and returns the output's dimensions, or a list of them for several outputs,
    with None where nothing is known.
    """

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


def opaque(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    """The rule of an unknown operation: fixes all dimensions of its inputs."""
    for tensor in tree_leaves(a):
        if isinstance(tensor, Tensor):
            for dim in flow.of(tensor):
                freeze(dim, "an operation without a rule")
    if isinstance(out, (tuple, list)):
        return [None] * len(out)
    return None


def several(dims: Dims, out: Any) -> Any:
    """Returns the dimensions of one output, or of the first of several outputs of which no more is known."""
    if isinstance(out, Tensor):
        return dims
    return [dims, *[None] * (len(out) - 1)]


def repeated(dims: Dims, out: Any) -> Any:
    """Returns the dimensions of one output, or of several outputs with the same dimensions."""
    if isinstance(out, Tensor):
        return dims
    return [list(dims) for _ in out]


def first(out: Any) -> Tensor:
    """Returns the output of an operation, or the first of several."""
    if isinstance(out, Tensor):
        return out
    found: Tensor = out[0]
    return found


@rule("clone", "copy", "alias", "detach", "_to_copy", "lift_fresh", "contiguous", "native_dropout", "zeros_like")
@rule(
    "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "hardswish", "hardsigmoid", "hardtanh", "prelu"
)
def pointwise(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    """The rule of elementwise operations with broadcasting: dimensions of the full size are equal."""
    tensors = [flow.of(t) for t in tree_leaves(a) if isinstance(t, Tensor)]
    return several(broadcast(tensors, first(out).shape), out)


def broadcast(tensors: Sequence[Dims], shape: Sequence[int]) -> Dims:
    """Returns the dimensions to which several tensors are broadcast."""
    rank = len(shape)
    return [same([t[d - rank] for t in tensors if len(t) >= rank - d], n) for d, n in enumerate(shape)]


def same(dims: Sequence[Dim], size: int) -> Dim:
    """Returns the dimension to which others are broadcast, and records that those of its size are equal."""
    full = [d for d in dims if extent(d) == size] or [fixed(size)]
    for other in full[1:]:
        unify(full[0], other)
    return full[0]
