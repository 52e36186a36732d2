"""Servers that the tests of this folder share, since MLflow takes its time to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.scheduler.servers.running import Running, running


@pytest.fixture(scope="session")
def lab() -> Iterator[Running]:
    with running(proxy=True) as one:
        yield one


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request to a server that was stopped gives up soon."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
