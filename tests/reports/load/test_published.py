"""The papers' numbers: those that their own rules and the claims of the methods give."""

from __future__ import annotations

import pytest

import methods
from reports.load import published


def test_the_papers_bytes_follow_from_its_own_rule() -> None:
    """Table 6 is 4 bytes for each non-zero, and the smaller of 0.52 MB of mask and 4-bit indices (tables 2 and 5)."""
    for point in published.MOBILENET:
        if point.series == published.SPARSE:
            assert point.nonzero is not None
            indices = min(0.52e6, point.nonzero / 2)
            assert point.bytes == pytest.approx(4 * point.nonzero + indices, abs=0.011e6)
        elif point.bytes is not None:
            assert point.bytes == pytest.approx(4 * (point.nonzero or 0), abs=1)


def test_the_papers_points_are_those_of_the_claims() -> None:
    claimed = {
        (claim.accuracy, claim.sparsity) for claim in methods.load("gradual").CLAIMS if claim.model == "mobilenetv1_100"
    }
    ours = {"width 1.0": 0.0, "50 % sparse": 0.5, "75 % sparse": 0.75, "90 % sparse": 0.9, "95 % sparse": 0.95}
    assert claimed == {(p.top1, ours[p.name]) for p in published.MOBILENET if p.name in ours}
