"""Weights on disk: written as safetensors, atomically, and loaded strictly; nothing is unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from bench import masks
from bench.errors import BenchError, Corrupt
from bench.models import weight_files
from bench.records.files import write_bytes

OPTIONAL = "num_batches_tracked"
"""Counters of batch norms, which older files do not have; torch then leaves them unchanged."""


def save_weights(model: nn.Module, path: Path | str, metadata: Mapping[str, str] | None = None) -> str:
    """Writes all parameters and buffers atomically; returns the file's SHA-256 in hex, equal for equal weights and equal
    ``metadata`` (texts by key, in the file's header)."""
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    data: bytes = safetensors.torch.save(state, dict(metadata) if metadata else None)
    write_bytes(Path(path), data)
    return hashlib.sha256(data).hexdigest()


def read_metadata(path: Path | str) -> dict[str, str]:
    """The metadata of a file of safetensors; empty where it has none.

    Raises:
        Corrupt: the file is not a whole file of safetensors.
    """
    if weight_files.is_of_torch(Path(path).expanduser()):
        return {}
    try:
        with safe_open(Path(path).expanduser(), framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise Corrupt(f"{path} is not a whole file of safetensors ({error}); fetch or write it again") from None


def load_weights(model: nn.Module, path: Path | str) -> tuple[str, ...]:
    """Loads a file of weights (`bench.models.weight_files`) into a model, in place; a file that does not fit leaves the model
    unchanged. Returns notes on what was done to make the weights fit.

    Raises:
        MissingData: there is no such file.
        Corrupt: the file is not a whole file of weights.
        BenchError: the weights are those of another architecture, of another number of classes, of a smaller model, or no
            floating-point numbers.
    """
    found = weight_files.read(path, model.state_dict())
    _require_floats(model, found.state, path)
    _fit(model, found.state, path)
    model.load_state_dict(found.state, strict=True)
    return found.notes


def _require_floats(model: nn.Module, state: dict[str, Tensor], path: Path | str) -> None:
    for name, expected in model.state_dict().items():
        if not expected.is_floating_point() or name not in state:
            continue
        tensor = state[name]
        if not tensor.is_floating_point() or tensor.itemsize < 2:
            raise BenchError(
                f"weights must be floating-point numbers of 16 bits or more, but in {path} {name} is "
                f"{str(tensor.dtype).removeprefix('torch.')}: its scale is not there; save them before they are quantised"
            )
        if not bool(tensor.isfinite().all()):
            raise BenchError(
                f"weights must be finite, but in {path} {name} has NaN or infinity; use an earlier checkpoint"
            )


def _fit(model: nn.Module, state: dict[str, Tensor], path: Path | str) -> None:
    expected = model.state_dict()
    wrong = [
        f"{k} is {_shape(v)}, not {_shape(expected[k])}" for k, v in sorted(state.items()) if _misshapen(k, v, expected)
    ]
    missing = [f"{k} is missing" for k in expected if k not in state and not k.endswith(OPTIONAL)]
    surplus = [f"{k} is not in the model" for k in state if k not in expected]
    if not wrong + missing + surplus:
        return
    heads = _classifier(model)
    if not missing + surplus and all(line.split(" ")[0] in heads for line in wrong):
        name = next(k for k, v in state.items() if _misshapen(k, v, expected))
        raise BenchError(
            f"weights must have the task's classes, but {path} was made for {state[name].shape[0]} classes and the "
            f"model has {expected[name].shape[0]}; choose its task, or other weights"
        )
    if wrong and not missing + surplus and _smaller(state, expected):
        raise BenchError(_without_plan(path, wrong[0]))
    told = "; ".join([*wrong, *missing, *surplus][:3])
    count = len(wrong + missing + surplus)
    raise BenchError(f"weights must fit the model, but in {path} {told} ({count} in all); choose their model")


def _smaller(state: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    """Whether tensors differ only in having fewer channels."""
    pairs = [(tuple(state[name].shape), tuple(whole.shape)) for name, whole in expected.items() if name in state]
    return all(len(a) == len(b) and all(n <= of for n, of in zip(a, b, strict=True)) for a, b in pairs)


def _without_plan(path: Path | str, first: str) -> str:
    """Channels were removed: which ones, only the plan says."""
    plan = Path(path).expanduser().with_name("plan.json")
    got = f"weights must fit the model, but those in {path} have fewer channels ({first}), as those of a pruned model"
    if plan.is_file():
        return f"{got}; its plan is {plan}: with the run's folder in runs/ of your home, write start=run:{plan.parent.name}"
    return (
        f"{got}, and the plan of the channels that are left is missing; a run writes it as plan.json beside its "
        "model.safetensors: bring the run's folder and write start=run:ID"
    )


def _misshapen(name: str, tensor: Tensor, expected: dict[str, Tensor]) -> bool:
    return name in expected and expected[name].shape != tensor.shape


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _classifier(model: nn.Module) -> set[str]:
    """The names of the classifier's parameters."""
    own = {id(p) for m in masks.classifier_modules(model) for p in m.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in own}
