"""Large sparse models against small dense ones, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.figures import large_sparse_small_dense
from tests.reports import samples


def test_sizes_by_hand(tmp_path: Path) -> None:
    table = large_sparse_small_dense.sizes(samples.sparse_and_dense(tmp_path))
    own = table[~table["paper"]].set_index("label")
    assert own["nonzero"].to_dict() == {
        **{"dense": 1000, "gradual @0.9 #0": 100, "gradual @0.5 #0": 500},
        **{"small_dense @0.9 #0": 100, "small_dense @0.5 #0": 500},
    }
    assert own.loc["gradual @0.9 #0", "bytes"] == 450  # with the mask
    assert own.loc["small_dense @0.9 #0", "bytes"] == 400  # which a dense model does not have
    assert own.loc["dense", "bytes"] == 4000
    assert own.loc["gradual @0.9 #0", "series"] == "large sparse"
    assert own.loc["small_dense @0.9 #0", ["series", "accuracy", "n"]].tolist() == ["small dense", 80.0, 3]
    assert own.loc["dense", "high"] == pytest.approx(90 + samples.HALF, abs=1e-6)


def test_the_papers_points_stand_apart(tmp_path: Path) -> None:
    table = large_sparse_small_dense.sizes(samples.sparse_and_dense(tmp_path))
    paper = table[table["paper"]]
    assert len(paper) == 8
    assert set(paper["model"]) == {large_sparse_small_dense.PAPER}
    assert paper[["low", "high", "n"]].isna().all(axis=None)
    assert set(paper["method"]) == {""}  # nothing that our statistics could take for a method's
