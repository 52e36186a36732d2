"""How values become text."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from reports.tables.columns import Column, Row, Table, counted, fixed, interval, p_value, percent, settings, short, text
from reports.tables.comparison import signed


@pytest.mark.parametrize(
    ("show", "row", "expected"),
    [
        (fixed("x", 2), {"x": 1.005e2}, "100.50"),
        (fixed("x", 1, 1e-3), {"x": 1234.0}, "1.2"),
        (fixed("x"), {"x": math.nan}, "–"),
        (fixed("x"), {"x": None}, "–"),
        (text("x"), {"x": 0}, "0"),
        (text("x"), {"x": ""}, "–"),
        (percent("x"), {"x": 0.1}, "10.0"),
        (percent("x"), {"x": 0.0999}, "9.99"),
        (interval("x", "half"), {"x": 90.0, "half": 1.5}, "90.00 ± 1.50"),
        (interval("x", "half"), {"x": 90.0, "half": math.nan}, "90.00"),
        (interval("x", "half"), {"x": math.nan, "half": math.nan}, "–"),
        (signed("x", "half"), {"x": -1.0, "half": 0.5}, "−1.00 ± 0.50"),
        (signed("x"), {"x": 1.0}, "+1.00"),
        (signed("x"), {"x": -0.004}, "0.00"),
        (signed("x"), {"x": math.nan}, "–"),
        (p_value, {"holm": 0.0009}, "< 0.001"),
        (p_value, {"holm": 0.0444}, "0.044"),
        (p_value, {"holm": math.nan}, "–"),
        (short, {"settings": "lr=0.123456 every=10 how=decay"}, "lr=0.1235 every=10 how=decay"),
        (short, {"settings": ""}, "–"),
    ],
)
def test_values_as_text(show: Callable[[Row], str], row: dict[str, Any], expected: str) -> None:
    assert show(row) == expected


def test_settings_are_sorted_and_keep_all_digits() -> None:
    assert settings({"b": 0.1 + 0.2, "a": "x"}) == "a=x b=0.30000000000000004"


def test_one_thing_is_singular() -> None:
    assert [counted(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def test_a_column_is_bold_where_its_field_says_so() -> None:
    column = Column("x", "x", fixed("x"), bold="top")
    table = Table("t", "T", "", pd.DataFrame({"x": [1.0, 2.0], "top": [False, True]}), (column,))
    assert [column.strong(row) for row in table.rows()] == [False, True]
    assert table.texts == [["1.0"], ["2.0"]]
