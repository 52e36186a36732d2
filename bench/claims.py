"""Numbers that a paper reports, shown beside our own; they never enter a statistic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Claim:
    """One published number.

    Attributes:
        model: the architecture.
        task: the data set.
        accuracy: top-1 in per cent.
        source: the paper, and the table or figure.
        sparsity: the share of weights removed (0 to 1).
        note: what differs from our setting, and whether the number was read off a figure.
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
