"""Rules of operations that compute, such as products, convolutions, norms, reductions and pooling
(`bench.channels.couplings.flow`)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bench.channels.couplings.axes import GRID, ONE, extent, fixed, freeze, fresh, mix, times, unify
from bench.channels.couplings.flow import (
    RULES,
    Dims,
    Flow,
    Rule,
    broadcast,
    first,
    pointwise,
    repeated,
    rule,
    same,
    several,
)


@rule("mm", "bmm", "mv", "dot")
def _mm(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    other = next(a[name] for name in ("mat2", "vec", "tensor") if name in a)
    return _product(flow.of(a["self"]), flow.of(other), out)


@rule("addmm", "baddbmm", "addmv")
def _addmm(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    one, other = (
        next(a[n] for n in names if n in a) for names in (("mat1", "batch1", "mat"), ("mat2", "batch2", "vec"))
    )
    return broadcast([_product(flow.of(one), flow.of(other), out), flow.of(a["self"])], out.shape)


@rule("linear")
def _linear(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims = _product(flow.of(a["input"]), flow.of(a["weight"])[::-1], out)
    if a["bias"] is None:
        return dims
    return broadcast([dims, flow.of(a["bias"])], out.shape)


def _product(left: Dims, right: Dims, out: Tensor) -> Dims:
    """Returns the dimensions of a matrix product; those that are summed over are equal."""
    unify(left[-1], right[max(0, len(right) - 2)])
    dims = [*left[:-1], *right[1:][-1:]]
    if len(left) == len(right) == 3:
        dims[0] = same([left[0], right[0]], out.shape[0])
    return dims


@rule("convolution", "_convolution", "conv2d")
def _convolution(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    images, weight, groups = flow.of(a["input"]), flow.of(a["weight"]), a["groups"]
    for d in range(2, len(weight)):
        freeze(weight[d], GRID)
    outer, inner = fresh(groups), fresh(extent(weight[0]) // groups)  # channels are (groups, channels of each)
    unify(weight[0], times(outer, inner))
    given, taken = times(outer, weight[1]), weight[0]
    if a["transposed"]:
        given, taken = taken, given
    unify(images[1], given)
    if a["bias"] is not None:
        unify(taken, flow.of(a["bias"])[0])
    dims = [images[0], taken, *images[2:]]
    for d in range(2, len(dims)):
        if a["weight"].shape[d] > 1 or out.shape[d] != a["input"].shape[d]:
            freeze(dims[d], "a convolution runs along it")
            dims[d] = fixed(out.shape[d])
    return dims


_FLASH = "_scaled_dot_product_"


@rule(_FLASH + "flash_attention_for_cpu", _FLASH + "attention_math", _FLASH + "flash_attention")
def _attention(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    query, key, value = flow.of(a["query"]), flow.of(a["key"]), flow.of(a["value"])
    unify(query[-1], key[-1])
    unify(key[-2], value[-2])
    lead = [same([query[d], key[d], value[d]], n) for d, n in enumerate(out[0].shape[:-2])]
    if isinstance(a.get("attn_mask"), Tensor):
        scores = [*lead, query[-2], key[-2]]
        broadcast([scores, flow.of(a["attn_mask"])], [extent(d) for d in scores])
    return several([*lead, query[-2], value[-1]], out)


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "_batch_norm_no_update")
@rule("batch_norm", "_batch_norm_with_update", "cudnn_batch_norm")
def _batch_norm(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    dims = flow.of(a["input"])
    if a.get("training"):  # a model in eval mode that standardises its weights
        for dim in (dims[0], *dims[2:]):
            mix(dim)
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(a.get(name), Tensor):
            unify(dims[1], flow.of(a[name])[0])
    return several(dims, out)


@rule("native_layer_norm", "_fused_rms_norm", "rms_norm")
def _layer_norm(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    dims = flow.of(a["input"])
    last = dims[-len(a["normalized_shape"]) :]
    for dim in last:
        mix(dim)
    for name in ("weight", "bias"):
        if isinstance(a.get(name), Tensor):
            broadcast([last, flow.of(a[name])], [extent(d) for d in last])
    return several(dims, out)


@rule("native_group_norm")
def _group_norm(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    dims, inner = flow.of(a["input"]), fresh(a["C"] // a["group"])
    mix(inner)
    unify(dims[1], times(fresh(a["group"]), inner))
    for name in ("weight", "bias"):
        if isinstance(a.get(name), Tensor):
            unify(dims[1], flow.of(a[name])[0])
    return several(dims, out)


@rule("_softmax", "_log_softmax", "_safe_softmax")
def _softmax(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims = flow.of(a["self"])
    mix(dims[a["dim"]])
    return dims


@rule("cumsum", "sort", "topk", "cumprod")
def _ordered(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    dims = flow.of(a["self"])
    freeze(dims[a["dim"]], "its order matters")
    dims[a["dim"]] = fixed(first(out).shape[a["dim"]])
    return repeated(dims, out)


@rule("sum", "mean", "amax", "amin", "max", "min", "prod", "var", "std", "var_mean", "std_mean", "norm", "logsumexp")
@rule("linalg_vector_norm", "any", "all", "argmax", "argmin")
def _reduce(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    if isinstance(a.get("other"), Tensor):
        return pointwise(flow, a, out)
    dims = flow.of(a["self"])
    if not dims:
        return repeated(dims, out)
    reduced = _reduced(a.get("dim"), len(dims))
    for d in reduced:
        mix(dims[d])
        dims[d] = ONE
    if not a.get("keepdim"):
        dims = [dim for d, dim in enumerate(dims) if d not in reduced]
    return repeated(dims, out)


def _reduced(given: Any, rank: int) -> set[int]:
    """Returns the dimensions that a reduction reduces: all of them where none is given."""
    if given is None or given == []:
        return set(range(rank))
    if isinstance(given, int):
        given = [given]
    return {d % rank for d in given}


def _spatial(count: int) -> Rule:
    def along(flow: Flow, a: dict[str, Any], out: Any) -> Any:
        images: Tensor = a["self"] if "self" in a else a["input"]
        dims = flow.of(images)
        for dim in dims[-count:]:
            freeze(dim, "it is pooled or resampled along")
        return repeated([*dims[:-count], *[fixed(n) for n in first(out).shape[-count:]]], out)

    return along


for _names, _dims in (
    ("avg_pool1d _adaptive_avg_pool1d max_pool1d upsample_nearest1d upsample_linear1d", 1),
    ("avg_pool2d _adaptive_avg_pool2d adaptive_avg_pool2d max_pool2d max_pool2d_with_indices adaptive_max_pool2d", 2),
    ("upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d _upsample_bilinear2d_aa", 2),
    ("_upsample_bicubic2d_aa reflection_pad2d replication_pad2d", 2),
):
    RULES.update(dict.fromkeys(_names.split(), _spatial(_dims)))
