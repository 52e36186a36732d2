"""Energy, where the hardware counts it: of a GPU through its driver (NVML), of a CPU through the kernel (RAPL).

What is counted is that of the whole device, whoever used it: with runs side by side each is charged an equal part, which is an
estimate. RAPL counts processor packages, not the machine, and its counters wrap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

RAPL = Path("/sys/class/powercap")
Reading = dict[str, tuple[float, float]]
"""By counter: joules, and where it wraps (infinite: nowhere)."""


def reading(device: torch.device, root: Path = RAPL) -> Reading:
    """The counters of a device; empty where there are none, or they may not be read."""
    return _gpu(device) if device.type == "cuda" else _packages(root)


def _packages(root: Path) -> Reading:
    found = dict[str, tuple[float, float]]()
    for folder in sorted(root.glob("intel-rapl:*")):
        if folder.name.count(":") > 1:  # a part of a package, counted there
            continue
        try:
            most = int((folder / "max_energy_range_uj").read_text())
            found[folder.name] = (int((folder / "energy_uj").read_text()) / 1e6, most / 1e6)
        except (OSError, ValueError):  # for the administrator only, on most systems
            continue
    return found


def _gpu(device: torch.device) -> Reading:
    try:
        import pynvml  # type: ignore[import-untyped]

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
        return {uuid: (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, float("inf"))}
    except Exception:  # no nvidia-ml-py, an old GPU, or a driver that does not tell: each raises errors of its own
        return {}


@dataclass
class Meter:
    """Counts from when it is made. ``beside``: how many runs share the device."""

    device: torch.device
    beside: int = 1
    root: Path = RAPL
    began: Reading = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take the first reading."""
        self.began = reading(self.device, self.root)

    def joules(self) -> float | None:
        """What was spent since then, or None where nothing counts it. A counter that wrapped did so once."""
        now, total = reading(self.device, self.root), 0.0
        if not now or now.keys() != self.began.keys():
            return None
        for name, (joules, most) in now.items():
            spent = joules - self.began[name][0]
            total += spent if spent >= 0 else spent + most
        return total / self.beside
