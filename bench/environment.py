"""The machine and the software a result came from, and secrets kept out of what is written down."""

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
from typing import Any
from urllib.parse import quote, unquote

import psutil
import torch

import bench
from bench.errors import BenchError

PACKAGES = ("torch", "torchvision", "timm", "optuna", "mlflow", "numpy")
ADDRESSES = ("BENCH_OPTUNA", "BENCH_STORE", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
SECRETS = (
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "FSSPEC_S3_SECRET"),
)
_URL_PASSWORD = re.compile(r"""(://[^:/\s"']*:)[^\s"']*@""")
_SETTING = re.compile(r"""((?:password|passwd|token|secret)=)[^&\s"']+""", re.IGNORECASE)


def versions() -> dict[str, str]:
    """Python and the packages that can change a number, as installed (none is imported for it)."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: torch.device) -> dict[str, Any]:
    """The processor (model, cores that may be used, memory in bytes) and, for a CUDA device, the GPU and its driver."""
    found: dict[str, Any] = {"cpu": _cpu_model(), "cores": _cores(), "memory": psutil.virtual_memory().total}
    if device.type == "cuda":
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
    """Whether this processor computes in bf16 itself; where that cannot be told, yes."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return True
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy(seconds: float = 0.2) -> float:
    """The share of all processors (0 to 1) that other work uses, watched for a moment in which this process waits."""
    return float(psutil.cpu_percent(seconds)) / 100


def _driver() -> str | None:
    lines = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return lines.splitlines()[0] if lines else None


def _output(*command: str) -> str | None:
    """What a program prints, or None where it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def code_version(root: Path) -> dict[str, Any]:
    """Version, git commit and whether files differ from it, if ``root`` is in a checkout; else what the installed package
    knows of its origin. What is not known is None; this never fails."""
    if _output("git", "-C", str(root), "ls-files", "--error-unmatch", ".") is None:  # or a checkout that ignores us
        return {"version": bench.__version__, "commit": _installed_commit(), "dirty": None}
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD")
    changes = _output("git", "-C", str(root), "status", "--porcelain")
    return {"version": bench.__version__, "commit": commit, "dirty": None if changes is None else bool(changes)}


def _installed_commit() -> str | None:
    """The commit that pip noted when it installed from a repository (PEP 610)."""
    try:
        noted = importlib.metadata.distribution("prunebench").read_text("direct_url.json")
        commit = json.loads(noted or "{}").get("vcs_info", {}).get("commit_id")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    return str(commit) if commit else None


def peak_memory(device: torch.device) -> int:
    """The most memory this process has held, in bytes: tensors on a CUDA device, or all of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resolve_device(name: str) -> torch.device:
    """The device for "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".

    Raises:
        BenchError: the name is none of these, or there is no such GPU.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    match = re.fullmatch(r"auto|cuda(?::(\d+))?", name)
    if match is None:
        raise BenchError(f"`device` must be auto, cpu, cuda or cuda:N, but got {name!r}")
    index, count = int(match[1] or 0), torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index >= count:
        seen = (
            f"{count} CUDA devices are"
            if count > 1
            else "one CUDA device (cuda:0) is"
            if count
            else "no CUDA device is"
        )
        raise BenchError(f"`device` must exist, but got {name!r} and {seen} to be seen; use device=auto or device=cpu")
    return torch.device("cuda", index)


def _given() -> list[str]:
    """The secrets in the environment, as they are and as a URL writes them, the longest first; none is too short to tell."""
    found = {os.environ.get(name, "") for name in SECRETS}
    for name in ADDRESSES:
        if match := re.search(r"://[^:/]*:(.*)@", os.environ.get(name, "")):
            found |= {match[1], unquote(match[1])}
    found |= {quote(secret, safe="") for secret in found}
    return sorted((secret for secret in found if len(secret) >= 4), key=len, reverse=True)


def command() -> str:
    """The command line of this process, the home folder as ``~`` and secrets masked."""
    line = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    home = str(Path.home())
    return mask_secrets(line if home == "/" else re.sub(rf"{re.escape(home)}(?![\w.-])", "~", line))


def mask_secrets(text: str) -> str:
    """``text`` with passwords in URLs, values of password=, passwd=, token= and secret=, and whatever secret this process was
    given in its environment, replaced by ``***``.

    When in doubt it masks too much: a password may hold "@", "/" and ":".
    """
    for secret in _given():
        text = text.replace(secret, "***")
    return _SETTING.sub(r"\1***", _URL_PASSWORD.sub(r"\1***@", text))
