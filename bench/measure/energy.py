"""Energy from hardware counters: of a GPU through its driver (NVML), of a CPU through the kernel (RAPL).

A counter covers the whole device and all processes on it. Runs that share a device are each charged an equal part, which is
an estimate. RAPL counts processor packages, not the whole machine, and its counters wrap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

RAPL = Path("/sys/class/powercap")
Reading = dict[str, tuple[float, float]]
"""For each counter its joules, and the joules at which it wraps (infinite for one that does not wrap)."""


def reading(device: torch.device, root: Path = RAPL) -> Reading:
    """Reads the counters of a device; empty where there are none or this process may not read them."""
    if device.type == "cuda":
        return _gpu(device)
    return _packages(root)


def _packages(root: Path) -> Reading:
    found = dict[str, tuple[float, float]]()
    for folder in sorted(root.glob("intel-rapl:*")):
        if folder.name.count(":") > 1:  # a part of a package, whose counter includes it
            continue
        try:
            most = int((folder / "max_energy_range_uj").read_text())
            found[folder.name] = (int((folder / "energy_uj").read_text()) / 1e6, most / 1e6)
        except (OSError, ValueError):  # most systems let only the administrator read it
            continue
    return found


def _gpu(device: torch.device) -> Reading:
    try:
        import pynvml  # type: ignore[import-untyped]  # here, because it is an extra

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
        return {uuid: (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, float("inf"))}
    except Exception:  # a missing nvidia-ml-py, an old GPU and an old driver raise different errors
        return {}


@dataclass
class Meter:
    """Measures the energy spent since it was made. ``beside`` is the number of runs that share the device."""

    device: torch.device
    beside: int = 1
    root: Path = RAPL
    began: Reading = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Takes the first reading."""
        self.began = reading(self.device, self.root)

    def joules(self) -> float | None:
        """Returns the joules spent since then, or None without counters. A counter is assumed to wrap at most once."""
        now, total = reading(self.device, self.root), 0.0
        if not now or now.keys() != self.began.keys():
            return None
        for name, (joules, most) in now.items():
            spent = joules - self.began[name][0]
            if spent < 0:  # the counter wrapped
                spent += most
            total += spent
        return total / self.beside
