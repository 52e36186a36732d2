"""Colours, markers, panels and lines."""

from __future__ import annotations

import math

import pytest

from reports.figures import style
from reports.figures.style import looks, shade


def test_shades_go_from_light_to_dark_around_the_colour() -> None:
    assert shade("#808080", 1, 3) == "#808080"
    light, dark = (int(shade("#808080", i, 3)[1:3], 16) for i in (0, 2))
    assert light > 0x80 > dark


def test_thirty_methods_have_looks_of_their_own() -> None:
    found = looks([f"m{i:02d}" for i in range(30)])
    assert len({(look.colour, look.marker) for look in found.values()}) == 31


@pytest.mark.parametrize(
    ("count", "wide", "most", "narrow", "across"),
    [
        (1, True, 3, 1, 1),
        (2, True, 3, 1, 2),
        (4, True, 3, 1, 3),
        (13, True, 3, 1, 4),
        (4, False, 3, 1, 1),
        (7, False, 3, 1, 2),
    ],
)
def test_panels_side_by_side(count: int, wide: bool, most: int, narrow: int, across: int) -> None:
    figure, grid = style.panels(count, wide, most=most, narrow=narrow)
    assert len(grid) == count
    assert grid[0][0].get_subplotspec().get_gridspec().ncols == across
    assert figure.get_figwidth() == (style.PAGE if wide else style.COLUMN)


def test_the_dense_control_has_a_band_only_with_an_interval() -> None:
    _, [[with_band], [without]] = style.panels(2, True)
    style.control_line(with_band, 90.0, 89.0, 91.0)
    style.control_line(without, 90.0, math.nan, math.nan)
    assert [len(axes.patches) for axes in (with_band, without)] == [1, 0]
    assert [len(axes.lines) for axes in (with_band, without)] == [1, 1]
