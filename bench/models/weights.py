"""Weights on disk: files of safetensors, written atomically and loaded strictly; nothing is unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from bench import masks
from bench.errors import BenchError, Corrupt, MissingData
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
    try:
        with safe_open(Path(path).expanduser(), framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise Corrupt(f"{path} is not a whole file of safetensors ({error}); fetch or write it again") from None


def load_weights(model: nn.Module, path: Path | str) -> None:
    """Loads a file of safetensors into a model, in place; a file that does not fit leaves the model unchanged.

    Raises:
        MissingData: there is no such file.
        Corrupt: the file is not a whole file of safetensors.
        BenchError: the weights are those of another architecture, or of another number of classes.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise MissingData(f"no weights at {path}; give a .safetensors file")
    try:
        state: dict[str, Tensor] = safetensors.torch.load(file.read_bytes())
    except SafetensorError as error:
        raise Corrupt(f"{path} is not a whole file of safetensors ({error}); fetch or write it again") from None
    _fit(model, state, path)
    model.load_state_dict(state, strict=True)


def _fit(model: nn.Module, state: dict[str, Tensor], path: Path | str) -> None:
    expected = model.state_dict()
    wrong = [f"{k} is {_shape(v)}, not {_shape(expected[k])}" for k, v in state.items() if _misshapen(k, v, expected)]
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
    told = "; ".join([*wrong, *missing, *surplus][:3])
    count = len(wrong + missing + surplus)
    raise BenchError(f"weights must fit the model, but in {path} {told} ({count} in all); choose their model")


def _misshapen(name: str, tensor: Tensor, expected: dict[str, Tensor]) -> bool:
    return name in expected and expected[name].shape != tensor.shape


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _classifier(model: nn.Module) -> set[str]:
    """The names of the classifier's parameters."""
    own = {id(p) for m in masks.classifier_modules(model) for p in m.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in own}
