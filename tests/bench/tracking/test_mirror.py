"""The thread that syncs, without a server."""

from __future__ import annotations

import pytest

from bench.records.home import Home
from bench.tracking import Mirror, Unavailable, connect
from tests.bench.tracking.studies import STUDY

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of mlflow's own imports


def test_a_server_that_is_down_costs_one_warning(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    with pytest.raises(Unavailable) as caught:
        connect(home)
    assert "secret" not in str(caught.value)
    warnings = list[str]()
    with Mirror(home, STUDY, warnings.append, every=0.05) as mirror:
        mirror._thread.join(1.0)
    assert 1 <= len(warnings) <= 2
    assert all("bench sync" in w and "secret" not in w for w in warnings)
