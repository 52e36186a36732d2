"""Shares of the parameters of an architecture, by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from reports.figures import prunable
from tests.reports import samples


def test_what_is_prunable_by_hand(tmp_path: Path) -> None:
    """5 layers of 576 weights and 24 other parameters, 3000 in all; the last layer is spared, 144 of 576 are left."""
    table = prunable.prunable(samples.architectures(tmp_path))
    net, other = table.to_dict("records")
    assert (net["model"], net["label"], net["parameters"]) == ("net", "drop†", 3000)
    assert [net[part] * 3000 for part in prunable.PARTS] == pytest.approx([4 * 432, 4 * 144, 576, 120])
    assert (net["top1"], net["n"], net["dense"]) == (90.0, 3, 95.0)
    assert net["high"] == pytest.approx(90 + samples.HALF, abs=1e-6)
    assert (other["model"], other["failed"], other["n"]) == ("other", 3, 0)
    assert other["reason"] == "the window must fit, but got 32 and 0; the window must fit, but got 32 and 1"
    assert math.isnan(other["pruned"])
    assert other["dense"] == 95.0
