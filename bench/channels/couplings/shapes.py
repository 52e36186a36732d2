"""Rules of operations that move, split and join dimensions (`bench.channels.couplings.flow`)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from bench.channels.couplings.axes import ONE, Dim, extent, fixed, freeze, fresh, resolve, times, unify
from bench.channels.couplings.flow import Dims, Flow, opaque, rule, same


@rule("view", "_unsafe_view", "_reshape_alias", "reshape")
def _view(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    return reshaped(flow.of(a["self"]), list(out.shape))


def reshaped(dims: Dims, sizes: Sequence[int]) -> Dims:
    """Returns the dimensions after a reshape: runs of dimensions of equal size are multiplied, then split."""
    sources, targets, found = [d for d in dims if extent(d) != 1], [n for n in sizes if n != 1], list[Dim]()
    while targets:
        product, outs = sources.pop(0), [targets.pop(0)]
        while extent(product) != math.prod(outs):
            if extent(product) < math.prod(outs):
                product = times(product, sources.pop(0))
            else:
                outs.append(targets.pop(0))
        parts = [fresh(n) for n in outs]
        unify(product, functools.reduce(times, parts))
        found += parts
    queue = iter(found)
    return [ONE if n == 1 else next(queue) for n in sizes]


@rule("permute")
def _permute(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims = flow.of(a["self"])
    return [dims[d] for d in a["dims"]]


@rule("transpose")
def _transpose(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims = flow.of(a["self"])
    i, j = a["dim0"], a["dim1"]
    dims[i], dims[j] = dims[j], dims[i]
    return dims


@rule("t", "numpy_T")
def _t(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    return flow.of(a["self"])[::-1]


@rule("unsqueeze", "squeeze")
def _ones(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    return reshaped(flow.of(a["self"]), list(out.shape))


@rule("as_strided")
def _strided(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims = flow.of(a["self"])
    if a["self"].shape != out.shape:
        opaque(flow, a, out)
        return [fixed(n) for n in out.shape]
    return dims


@rule("expand")
def _expand(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims = [ONE] * (out.dim() - a["self"].dim()) + flow.of(a["self"])
    return [same([d], n) for d, n in zip(dims, out.shape, strict=True)]


@rule("repeat")
def _repeat(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims = [ONE] * (out.dim() - a["self"].dim()) + flow.of(a["self"])
    return [times(fixed(n), d) for d, n in zip(dims, a["repeats"], strict=True)]


def pieces(dim: Dim, sizes: Sequence[int]) -> list[Dim]:
    """Returns a dimension split into consecutive parts."""
    parts = [fresh(n) if n else () for n in sizes]
    unify(dim, tuple(s for p in parts for s in p))
    return [resolve(p) for p in parts]


@rule("slice")
def _slice(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims, d = flow.of(a["self"]), a["dim"]
    size, step, left = extent(dims[d]), a["step"] or 1, out.shape[d]
    start, _, _ = slice(a["start"], None).indices(size)
    if step == 1:
        dims[d] = pieces(dims[d], [start, left, size - start - left])[1]
    elif left * step == size:
        outer, inner = fresh(left), fresh(step)
        unify(dims[d], times(outer, inner))
        freeze(inner, "every n-th is taken")
        dims[d] = outer
    else:
        freeze(dims[d], "every n-th is taken")
        dims[d] = fixed(left)
    return dims


@rule("select")
def _select(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims = flow.of(a["self"])
    freeze(dims.pop(a["dim"]), "one is picked by its number")
    return dims


@rule("unbind")
def _unbind(flow: Flow, a: dict[str, Any], out: Sequence[Tensor]) -> list[Dims]:
    dims = flow.of(a["self"])
    freeze(dims.pop(a["dim"]), "one is picked by its number")
    return [list(dims) for _ in out]


@rule("split", "split_with_sizes", "chunk", "tensor_split")
def _split(flow: Flow, a: dict[str, Any], out: Sequence[Tensor]) -> list[Dims]:
    dims, d = flow.of(a["self"]), a["dim"] % a["self"].dim()
    parts = pieces(dims[d], [t.shape[d] for t in out])
    return [[*dims[:d], p, *dims[d + 1 :]] for p in parts]


@rule("cat", "concat")
def _cat(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    tensors = [t for t in a["tensors"] if t.numel() or t.dim() == out.dim()]
    found, d = [flow.of(t) for t in tensors], a["dim"] % out.dim()
    joined = tuple(s for t in found for s in t[d] if extent(t[d]))
    return [joined if i == d else same([t[i] for t in found], n) for i, n in enumerate(out.shape)]


@rule("stack")
def _stack(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    found, d = [flow.of(t) for t in a["tensors"]], a["dim"] % out.dim()
    dims = [same([t[i] for t in found], n) for i, n in enumerate(a["tensors"][0].shape)]
    return [*dims[:d], fixed(len(found)), *dims[d:]]


@rule("constant_pad_nd", "pad")
def _pad(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims, pad = flow.of(a["self"]), list(a["pad"])
    for d, (before, after) in zip(reversed(range(len(dims))), zip(pad[::2], pad[1::2], strict=True), strict=False):
        size = extent(dims[d])
        dims[d] = pieces(dims[d], [max(0, -before), size - max(0, -before) - max(0, -after), max(0, -after)])[1]
        dims[d] = tuple(s for n in (before,) if n > 0 for s in fixed(n, "padding")) + dims[d]
        dims[d] += tuple(s for n in (after,) if n > 0 for s in fixed(n, "padding"))
    return dims


@rule("roll", "flip")
def _roll(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims = flow.of(a["self"])
    for d in a["dims"] or range(len(dims)):
        freeze(dims[d], "it is turned around")
    return dims


@rule("unfold")
def _windows(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims, d = flow.of(a["self"]), a["dimension"]
    freeze(dims[d], "windows are cut from it")
    return [*dims[:d], fixed(out.shape[d]), *dims[d + 1 :], fixed(out.shape[-1])]


@rule("im2col")
def _im2col(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims = flow.of(a["self"])
    return [*dims[:-3], times(dims[-3], fixed(math.prod(a["kernel_size"]))), fixed(out.shape[-1])]


@rule("col2im")
def _col2im(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims, channels = flow.of(a["self"]), fresh(out.shape[-3])
    unify(dims[-2], times(channels, fixed(math.prod(a["kernel_size"]))))
    return [*dims[:-2], channels, *[fixed(n) for n in out.shape[-2:]]]


@rule("pixel_shuffle")
def _shuffle(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims, channels = flow.of(a["self"]), fresh(out.shape[-3])
    unify(dims[-3], times(channels, fixed(a["upscale_factor"] ** 2)))
    return [*dims[:-3], channels, *[fixed(n) for n in out.shape[-2:]]]


@rule("pixel_unshuffle")
def _unshuffle(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims = flow.of(a["self"])
    return [*dims[:-3], times(dims[-3], fixed(a["downscale_factor"] ** 2)), *[fixed(n) for n in out.shape[-2:]]]


@rule("index", "_unsafe_index")
def _index(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims = flow.of(a["self"])
    given = [d for d, index in enumerate(a["indices"]) if index is not None]
    for d in given:
        freeze(dims[d], "it is indexed")
    others = [dim for d, dim in enumerate(dims) if d not in given]
    first = 0  # the indexed dimensions come first, unless they are neighbours
    if given == list(range(given[0], given[-1] + 1)):
        first = given[0]
    count = out.dim() - len(others)
    return [*others[:first], *[fixed(n) for n in out.shape[first : first + count]], *others[first:]]


@rule("index_select", "embedding")
def _index_select(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    if "weight" in a:
        dims = flow.of(a["weight"])
        freeze(dims[0], "it is indexed")
        return [*[fixed(n) for n in out.shape[:-1]], dims[1]]
    dims = flow.of(a["self"])
    freeze(dims[a["dim"]], "it is indexed")
    dims[a["dim"]] = fixed(out.shape[a["dim"]])
    return dims
