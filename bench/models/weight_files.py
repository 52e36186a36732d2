"""Weights in files as people have them: safetensors, and those of torch where nothing has to be unpickled.

What training scripts wrap around a model's weights is recognised, taken off, and told in a note.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from bench.errors import BenchError, Corrupt, MissingData

WRAPPERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "net",
    "network",
    "module",
    "params",
    "model_ema",
    "state_dict_ema",
    "ema",
)
"""Keys under which checkpoints hold the weights; the first that is there is taken."""

PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
"""What DataParallel, torch.compile, Lightning and wrappers of others put before the names of weights."""

DEPTH = 4  # of wrappers in wrappers, and of prefixes before prefixes
OTHERS = {
    b"version https://git-lfs.github.com/spec/": "a pointer of Git LFS, not the weights; fetch them: git lfs pull",
    b"bench-checkpoint-1 ": "a checkpoint of an unfinished run; give its command again, and use start=run:ID",
    b"\x89HDF": "a file of HDF5 (Keras), not of torch; convert it to safetensors",
    b"GGUF": "a file of GGUF, not of torch; convert it to safetensors",
    b"\x93NUMPY": "an array of NumPy, not the weights of a model; convert it to safetensors",
    b"\x1f\x8b": "a compressed file; unpack it: gunzip",
    b"<!doctype html": "a web page, not the weights; download the file itself",
    b"<html": "a web page, not the weights; download the file itself",
}
"""What files are that begin with these bytes, and the remedy."""


@dataclass(frozen=True)
class WeightFile:
    """The tensors of a file by the names of the model's weights, and notes on what was taken off."""

    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def read(path: Path | str, expected: Iterable[str]) -> WeightFile:
    """The weights in a file; ``expected`` are the names of the model's weights, which say what is a prefix.

    Raises:
        MissingData: there is no such file.
        Corrupt: the file is not a whole file of weights.
        BenchError: it holds something that is not loaded; the message says what it is, and how it is converted.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise MissingData(f"no weights at {path}; give a .safetensors file")
    if not is_of_torch(file):
        return _cleaned(_safetensors(file, path), expected, path)
    state, notes = _unwrapped(_of_torch(file, path), path)
    cleaned = _cleaned(state, expected, path)
    return WeightFile(cleaned.state, (*notes, *cleaned.notes))


def is_of_torch(file: Path) -> bool:
    """Whether a file is one of `torch.save`, by its content: a zip archive or a pickle."""
    with file.open("rb") as opened:
        head = opened.read(4)
    return head == b"PK\x03\x04" or (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and head[2:3] != b"")


def _safetensors(file: Path, path: Path | str) -> dict[str, Tensor]:
    data = file.read_bytes()
    for head, what in OTHERS.items():
        if data[: len(head)].lower() == head.lower():
            raise BenchError(f"weights are read from .safetensors or from torch, but {path} is {what}")
    try:
        state: dict[str, Tensor] = safetensors.torch.load(data)
    except SafetensorError as error:
        raise Corrupt(f"{path} is not a whole file of safetensors ({error}); fetch or write it again") from None
    return state


def _of_torch(file: Path, path: Path | str) -> Any:
    """What is in a file of torch; objects other than tensors and plain values are not unpickled."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"Unsupported global: GLOBAL (\S+)|Unsupported class (\S+)", str(error))
        what = next(filter(None, found.groups()), "") if found else ""
        raise BenchError(_pickled(path, what)) from None
    except (
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        OSError,
        zipfile.BadZipFile,
        IndexError,
        AttributeError,
    ) as error:
        if "TorchScript" in str(error):
            raise BenchError(
                f"weights are read without running code, but {path} is a model of TorchScript; if you trust it: python -c "
                f"\"import torch, safetensors.torch as s; s.save_file({{k: v.clone() for k, v in torch.jit.load('{path}')"
                f".state_dict().items()}}, '{Path(path).with_suffix('.safetensors')}')\""
            ) from None
        raise Corrupt(f"{path} is not a whole file of torch; fetch or write it again") from None


def _pickled(path: Path | str, what: str) -> str:
    holds = f"objects ({what})" if what else "objects"
    out = Path(path).with_suffix(".safetensors")
    return (
        f"weights are read without unpickling, but {path} holds pickled {holds}; if you trust where it is from: python -c "
        f"\"import torch, safetensors.torch as s; m = torch.load('{path}', 'cpu', weights_only=False); "
        f"m = getattr(m, 'state_dict', lambda: m)(); m = m.get('state_dict', m.get('model', m)); "
        f"m = getattr(m, 'state_dict', lambda: m)(); "
        f"s.save_file({{k: v.clone().contiguous() for k, v in m.items()}}, '{out}')\""
    )


def _unwrapped(found: Any, path: Path | str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The weights in what a training script saved."""
    taken: list[str] = []
    others: list[str] = []
    for _ in range(DEPTH):
        if not isinstance(found, Mapping):
            break
        keys = [key for key in WRAPPERS if isinstance(found.get(key), Mapping)]
        if not keys:
            break
        taken.append(keys[0])
        others += keys[1:]
        found = found[keys[0]]
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        got = ", ".join(map(str, list(found)[:5])) if isinstance(found, Mapping) else type(found).__name__
        raise BenchError(
            f"a file of weights has tensors by name, but {path} holds {got or 'nothing'}; save model.state_dict()"
        )
    notes = [f"weights taken from {'.'.join(taken)} of the file"] if taken else []
    if others:
        notes[-1] += f", which has {' and '.join(others)} too"
    return {str(key): value for key, value in found.items() if isinstance(value, Tensor)}, tuple(notes)


def _cleaned(state: dict[str, Tensor], expected: Iterable[str], path: Path | str) -> WeightFile:
    """Names without prefixes, and pruned weights in place of torch's pairs of weights and masks."""
    names, notes = set(expected), list[str]()
    bare = {name: _bare(name, names) for name in state}
    prefixes = sorted({name[: len(name) - len(short)] for name, short in bare.items() if short != name})
    if len(set(bare.values())) < len(state):
        twice = next(name for name in bare if list(bare.values()).count(bare[name]) > 1)
        raise BenchError(
            f"each weight is in a file once, but {path} has {bare[twice]} with and without a prefix; remove one"
        )
    if prefixes:
        notes.append(f"prefixes taken off the names: {', '.join(prefixes)}")
    state = {bare[name]: tensor for name, tensor in state.items()}
    pairs = [name[:-5] for name in state if name.endswith("_orig") and f"{name[:-5]}_mask" in state]
    for name in pairs:
        state[name] = state.pop(f"{name}_orig") * state.pop(f"{name}_mask")
    if pairs:
        notes.append(f"{len(pairs)} masks of torch.nn.utils.prune applied to their weights")
    return WeightFile(state, tuple(notes))


def _bare(name: str, expected: set[str]) -> str:
    """A name without the prefixes before a name of the model; unchanged where that is none."""
    bare = name
    for _ in range(DEPTH):
        if re.sub(r"_(orig|mask)$", "", bare) in expected or bare in expected:
            return bare
        prefix = next((prefix for prefix in PREFIXES if bare.startswith(prefix)), "")
        if not prefix:
            return name
        bare = bare[len(prefix) :]
    return bare if bare in expected else name
