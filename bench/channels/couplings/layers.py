"""Rules of operations that compute: products, convolutions, norms, reductions, pooling (see
`bench.channels.couplings.flow`)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bench.channels.couplings.axes import GRID, ONE, extent, fixed, freeze, fresh, mix, times, unify
from bench.channels.couplings.flow import RULES, Dims, Flow, Rule, broadcast, pointwise, rule, same


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
    return dims if a["bias"] is None else broadcast([dims, flow.of(a["bias"])], out.shape)


def _product(left: Dims, right: Dims, out: Tensor) -> Dims:
    """What a row and a column have in common is the same, and gone."""
    unify(left[-1], right[max(0, len(right) - 2)])
    dims = [*left[:-1], *(right[-1:] if len(right) > 1 else [])]
    if len(left) == len(right) == 3:
        dims[0] = same([left[0], right[0]], out.shape[0])
    return dims


@rule("convolution", "_convolution", "conv2d")
def _convolution(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    images, weight, groups = flow.of(a["input"]), flow.of(a["weight"]), a["groups"]
    for d in range(2, len(weight)):
        freeze(weight[d], GRID)
    outer, inner = fresh(groups), fresh(extent(weight[0]) // groups)  # a grouped one takes and gives (groups, of each)
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
    return _several([*lead, query[-2], value[-1]], out)


def _several(dims: Dims, out: Any) -> Any:
    """The dimensions of the first output, where there are several."""
    return dims if isinstance(out, Tensor) else [dims, *[None] * (len(out) - 1)]


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "_batch_norm_no_update")
@rule("batch_norm", "_batch_norm_with_update", "cudnn_batch_norm")
def _batch_norm(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    dims = flow.of(a["input"])
    for dim in (dims[0], *dims[2:]) if a.get("training") else ():
        mix(dim)  # a model in eval mode takes statistics of weights that it standardises
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(a.get(name), Tensor):
            unify(dims[1], flow.of(a[name])[0])
    return _several(dims, out)


@rule("native_layer_norm", "_fused_rms_norm", "rms_norm")
def _layer_norm(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    dims = flow.of(a["input"])
    last = dims[-len(a["normalized_shape"]) :]
    for dim in last:
        mix(dim)
    for name in ("weight", "bias"):
        if isinstance(a.get(name), Tensor):
            broadcast([last, flow.of(a[name])], [extent(d) for d in last])
    return _several(dims, out)


@rule("native_group_norm")
def _group_norm(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    dims, inner = flow.of(a["input"]), fresh(a["C"] // a["group"])
    mix(inner)
    unify(dims[1], times(fresh(a["group"]), inner))
    for name in ("weight", "bias"):
        if isinstance(a.get(name), Tensor):
            unify(dims[1], flow.of(a[name])[0])
    return _several(dims, out)


@rule("_softmax", "_log_softmax", "_safe_softmax")
def _softmax(flow: Flow, a: dict[str, Any], out: Tensor) -> Dims:
    dims = flow.of(a["self"])
    mix(dims[a["dim"]])
    return dims


@rule("cumsum", "sort", "topk", "cumprod")
def _ordered(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    dims = flow.of(a["self"])
    freeze(dims[a["dim"]], "its order matters")
    result = out if isinstance(out, Tensor) else out[0]
    dims[a["dim"]] = fixed(result.shape[a["dim"]])
    return dims if isinstance(out, Tensor) else [list(dims) for _ in out]


@rule("sum", "mean", "amax", "amin", "max", "min", "prod", "var", "std", "var_mean", "std_mean", "norm", "logsumexp")
@rule("linalg_vector_norm", "any", "all", "argmax", "argmin")
def _reduce(flow: Flow, a: dict[str, Any], out: Any) -> Any:
    if isinstance(a.get("other"), Tensor):
        return pointwise(flow, a, out)
    dims, given = flow.of(a["self"]), a.get("dim")
    chosen = range(len(dims)) if given is None or given == [] else [given] if isinstance(given, int) else given
    gone = {d % len(dims) for d in chosen} if dims else set()
    for d in gone:
        mix(dims[d])
    kept = [ONE if d in gone else dim for d, dim in enumerate(dims) if a.get("keepdim") or d not in gone]
    return kept if isinstance(out, Tensor) else [list(kept) for _ in out]


def _spatial(count: int) -> Rule:
    def along(flow: Flow, a: dict[str, Any], out: Any) -> Any:
        result = out if isinstance(out, Tensor) else out[0]
        dims = flow.of(a["self"] if "self" in a else a["input"])
        for dim in dims[-count:]:
            freeze(dim, "it is pooled or resampled along")
        found = [*dims[:-count], *[fixed(n) for n in result.shape[-count:]]]
        return found if isinstance(out, Tensor) else [list(found) for _ in out]

    return along


for _names, _dims in (
    ("avg_pool1d _adaptive_avg_pool1d max_pool1d upsample_nearest1d upsample_linear1d", 1),
    ("avg_pool2d _adaptive_avg_pool2d adaptive_avg_pool2d max_pool2d max_pool2d_with_indices adaptive_max_pool2d", 2),
    ("upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d _upsample_bilinear2d_aa", 2),
    ("_upsample_bicubic2d_aa reflection_pad2d replication_pad2d", 2),
):
    RULES.update(dict.fromkeys(_names.split(), _spatial(_dims)))
