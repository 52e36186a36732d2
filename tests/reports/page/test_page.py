"""Files that the page embeds."""

from __future__ import annotations

from reports.page import page


def test_what_is_large_lies_beside_the_page() -> None:
    files = {"-page.png": b"x" * (page.HELD + 1), ".csv": b"a,b\n"}
    (large, said, nowhere), (small, _, here) = page.downloads("slices", "study/figures", files)
    assert (large, small) == ("slices-page.png", "slices.csv")
    assert (said, nowhere) == ("page png (0.5 MB: study/figures/slices-page.png)", "")
    assert here.startswith("data:text/csv;base64,")
