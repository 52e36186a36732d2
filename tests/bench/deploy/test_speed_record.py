"""Requests for speed measurements."""

from __future__ import annotations

import pytest

from bench.deploy.speed_record import SpeedRequest
from bench.errors import BenchError


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batches": ("1", "best")}, "numbers or auto"),
        ({"precisions": ("fp23",)}, "fp32"),
        ({"modes": ("fast",)}, "eager"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, tuple[str, ...]], told: str) -> None:
    with pytest.raises(BenchError, match=told):
        SpeedRequest(**changes)  # type: ignore[arg-type]
