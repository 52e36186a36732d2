"""Hardware and software that a result was measured with, and masking of secrets in text that is written down.

Importing this module is fast: torch is imported by the three functions that need a device.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import psutil

import bench
from bench.errors import BenchError

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "torchvision", "timm", "optuna", "mlflow", "numpy")
ADDRESSES = ("BENCH_OPTUNA", "BENCH_REMOTE", "BENCH_STORE", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
"""Environment variables whose URL may hold a password."""

SECRETS = (
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "FSSPEC_S3_SECRET"),
)
"""Environment variables that are secrets as a whole."""

_URL_PASSWORD = re.compile(r"""(://[^:/\s"']*:)[^\s"']*@""")
_SETTING = re.compile(r"""((?:password|passwd|token|secret)=)[^&\s"']+""", re.IGNORECASE)
_SHORTEST_SECRET = 4  # characters; masking shorter ones would mask ordinary text


def versions() -> dict[str, str]:
    """Versions of Python and of the installed `PACKAGES`, which can change a number. Imports none of them."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor() -> dict[str, Any]:
    """Model of the processor, number of cores that this process may use, and memory in bytes."""
    return {"cpu": _cpu_model(), "cores": _cores(), "memory": psutil.virtual_memory().total}


def hardware(device: torch.device) -> dict[str, Any]:
    """`processor`, and for a CUDA device the GPU, its memory in bytes, its driver and torch's CUDA version."""
    found = processor()
    if device.type == "cuda":
        import torch  # here, because it takes seconds to import

        gpu = torch.cuda.get_device_properties(device)
        found |= {"gpu": gpu.name, "gpu_memory": gpu.total_memory}
        found |= {"driver": _driver(), "cuda": torch.version.cuda}
    return found


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def fast_bf16() -> bool:
    """Whether this processor has bf16 arithmetic; True where that is unknown."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return True
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def busy(seconds: float = 0.2) -> float:
    """The share of all processors (0 to 1) that other processes use, measured while this process sleeps for ``seconds``."""
    return float(psutil.cpu_percent(seconds)) / 100


def _driver() -> str | None:
    lines = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return lines.splitlines()[0] if lines else None


def _output(*command: str) -> str | None:
    """What a program prints; None if it is missing, fails or takes longer than ten seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def code_version(root: Path) -> dict[str, Any]:
    """Version of the suite, git commit, and whether files differ from it ("dirty").

    Where ``root`` is not tracked by git (an installed package), the commit is the one that pip recorded. Unknown values
    are None. Never raises.
    """
    tracked = _output("git", "-C", str(root), "ls-files", "--error-unmatch", ".")
    if tracked is None:  # no checkout, or one that ignores this folder
        return {"version": bench.__version__, "commit": _installed_commit(), "dirty": None}
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD")
    changes = _output("git", "-C", str(root), "status", "--porcelain")
    return {"version": bench.__version__, "commit": commit, "dirty": None if changes is None else bool(changes)}


def _installed_commit() -> str | None:
    """The commit that pip recorded when it installed from a repository (PEP 610)."""
    try:
        noted = importlib.metadata.distribution("prunebench").read_text("direct_url.json")
        commit = json.loads(noted or "{}").get("vcs_info", {}).get("commit_id")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    return str(commit) if commit else None


def peak_memory(device: torch.device) -> int:
    """Peak memory of this process in bytes: of tensors on a CUDA device, of the whole process on a CPU."""
    if device.type == "cuda":
        import torch  # here, because it takes seconds to import

        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resolve_device(name: str) -> torch.device:
    """The device for "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".

    Raises:
        BenchError: the name is none of these, or there is no such GPU.
    """
    import torch  # here, because it takes seconds to import

    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    match = re.fullmatch(r"auto|cuda(?::(\d+))?", name)
    if match is None:
        raise BenchError(f"`device` must be auto, cpu, cuda or cuda:N, but got {name!r}")
    index = int(match[1] or 0)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        raise BenchError(
            f"`device` must exist, but got {name!r} and {_available(count)}; use device=auto or device=cpu"
        )
    return torch.device("cuda", index)


def _available(count: int) -> str:
    if count == 0:
        return "no CUDA device is available"
    if count == 1:
        return "one CUDA device (cuda:0) is available"
    return f"{count} CUDA devices are available"


def command() -> str:
    """The command line of this process, with the home folder as ``~`` and secrets masked."""
    line = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    home = os.path.expanduser("~")
    if home not in ("/", "~"):
        line = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", line)
    return mask_secrets(line)


def mask_secrets(text: str) -> str:
    """``text`` with secrets replaced by ``***``.

    Secrets are passwords in URLs, values of password=, passwd=, token= and secret=, and the values of `SECRETS` and
    `ADDRESSES` in this process's environment. A password may contain "@", "/" and ":", so where its end is ambiguous
    more is masked.
    """
    for secret in _secrets():
        text = text.replace(secret, "***")
    return _SETTING.sub(r"\1***", _URL_PASSWORD.sub(r"\1***@", text))


def _secrets() -> list[str]:
    """Secrets in the environment, as they are and percent-encoded, the longest first, without those too short to mask."""
    found = {os.environ.get(name, "") for name in SECRETS}
    for name in ADDRESSES:
        if match := re.search(r"://[^:/]*:(.*)@", os.environ.get(name, "")):
            found |= {match[1], unquote(match[1])}
    found |= {quote(secret, safe="") for secret in found}
    return sorted((secret for secret in found if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)
