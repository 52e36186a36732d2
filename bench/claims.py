"""What a paper reports, as data, to stand beside our own numbers; never part of any statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Claim:
    """One published number.

    ``sparsity`` is the share of weights removed (0 to 1), ``accuracy`` is top-1 in per cent, ``source`` says where the
    number stands, and ``note`` what differs from our setting (and whether it was read off a figure).
    """

    model: str
    task: str
    accuracy: float
    source: str
    sparsity: float | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The claim as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Claim:
        """The claim of `to_json`."""
        return cls(**value)
