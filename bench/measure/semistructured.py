"""2:4 sparsity on a GPU, the one pattern of zeros that its matrix units can skip, timed for each layer shape.

Of each four consecutive weights in a row, two are zero (Mishra et al. 2021, arXiv:2104.08378). Torch's kernels (cuSPARSELt or
CUTLASS) skip them. Whether that is faster depends on the shape, so losses are reported as well as wins.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.errors import BenchError
from bench.measure.turns import Ratio, Timing, race, summary
from bench.models.sizes import told
from bench.seeds import generator

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
NEEDED = (8, 0)  # compute capability of the first GPUs with such units
AGREE = 0.02  # relative to the largest output: the largest difference that is taken for rounding


@dataclass(frozen=True)
class Layer:
    """A linear layer, or a 1 x 1 convolution as one, on ``tokens`` rows of input."""

    name: str
    inputs: int
    outputs: int
    tokens: int


SHAPES = tuple(
    Layer(name, inputs, outputs, tokens)
    for tokens in (64, 1024, 16384)
    for name, inputs, outputs in (
        ("resnet50 layer1 1x1", 256, 64),
        ("resnet50 layer4 1x1", 2048, 512),
        ("vit_tiny fc1", 192, 768),
        ("vit_base qkv", 768, 2304),
        ("vit_base fc1", 768, 3072),
        ("vit_base fc2", 3072, 768),
        ("vit_large fc1", 1024, 4096),
        ("square", 4096, 4096),
        ("large square", 8192, 8192),
    )
)


def two_four(weight: Tensor) -> Tensor:
    """Returns the mask (bool, of a matrix's shape) that keeps the two largest of each four consecutive entries of a row.

    Raises:
        BenchError: the length of the rows is no multiple of 4.
    """
    if weight.dim() != 2 or weight.shape[1] % 4:
        raise BenchError(
            f"2:4 needs a matrix whose rows are a multiple of 4 long, but got {tuple(weight.shape)}; choose another layer"
        )
    fours = weight.abs().reshape(-1, 4)
    mask = torch.zeros(fours.shape, dtype=torch.bool, device=weight.device)
    return mask.scatter_(1, fours.topk(2, dim=1).indices, True).reshape(weight.shape)


def require(device: torch.device) -> None:
    """Raises a `BenchError` for a device without 2:4 kernels."""
    rule = "2:4 kernels need a CUDA GPU of compute capability 8.0 or above (Ampere, 2020)"
    if device.type != "cuda":
        raise BenchError(f"{rule}, but there is none here; run this on a machine that has one")
    found = torch.cuda.get_device_capability(device)
    if found < NEEDED:
        name = torch.cuda.get_device_name(device)
        raise BenchError(f"{rule}, but {name} has {found[0]}.{found[1]}; run this on a newer one")


@dataclass(frozen=True)
class LayerSpeed:
    """A layer with 2:4 weights beside the dense one: both times, and dense over sparse, above 1 where 2:4 is faster."""

    layer: Layer
    dtype: str
    backend: str
    dense: Timing
    sparse: Timing
    ratio: Ratio

    def to_json(self) -> dict[str, Any]:
        """Returns the row of `semistructured.json`."""
        layer = self.layer
        what = {"layer": layer.name, "inputs": layer.inputs, "outputs": layer.outputs, "tokens": layer.tokens}
        times = {"dense": vars(self.dense), "sparse": vars(self.sparse)}
        return {**what, "dtype": self.dtype, "backend": self.backend, **times, **vars(self.ratio)}


def compare(layer: Layer, device: torch.device, dtype: str, *, seconds: float) -> LayerSpeed:
    """Times a dense linear layer and the same layer with 2:4 weights in turns, on random values.

    Raises:
        BenchError: there are no 2:4 kernels here or none for this shape, or their result is wrong.
    """
    require(device)
    rng = generator("two four", layer.inputs, layer.outputs, layer.tokens)
    weight = torch.randn(layer.outputs, layer.inputs, generator=rng).to(device, DTYPES[dtype])
    images = torch.randn(layer.tokens, layer.inputs, generator=rng).to(device, DTYPES[dtype])
    weight = weight * two_four(weight)
    with torch.inference_mode():
        try:
            with warnings.catch_warnings(action="ignore"):  # torch warns that this interface may change
                sparse = torch.sparse.to_sparse_semi_structured(weight.contiguous())
                found = F.linear(images, sparse)
        except (RuntimeError, NotImplementedError) as error:  # a shape or a type without a kernel
            raise BenchError(f"2:4 kernels must take the layer's shape, but got {told(error)}") from None
        wanted = F.linear(images, weight)
        _require_same(found, wanted)
        rounds = race(lambda x: F.linear(x, weight), lambda x: F.linear(x, sparse), images, seconds=seconds)
    dense, other, ratio = summary(rounds)
    return LayerSpeed(layer, dtype, getattr(sparse, "BACKEND", ""), dense, other, ratio)


def _require_same(found: Tensor, wanted: Tensor) -> None:
    difference = float((found.float() - wanted.float()).abs().max() / wanted.float().abs().max())
    if not difference <= AGREE:  # NaN is no agreement
        raise BenchError(
            f"2:4 kernels must compute what the dense ones do, but their outputs differ by {difference:.1%}"
        )
