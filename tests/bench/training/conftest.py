"""The toys' groups are found once in a process."""

from __future__ import annotations

import pytest

from tests import toys


@pytest.fixture(autouse=True)
def counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    toys.count_once(monkeypatch)
