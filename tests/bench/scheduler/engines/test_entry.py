from __future__ import annotations

import signal
from pathlib import Path

import pytest

from bench.scheduler.engines.entry import work
from bench.scheduler.worker_config import WorkerConfig


def test_a_worker_that_fails_gives_a_reason_without_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["pytest"])
    before, config = signal.getsignal(signal.SIGUSR2), WorkerConfig("toy", tmp_path, tmp_path)
    assert "begun" in work(config, (signal.SIGUSR2,)).reason
    assert signal.getsignal(signal.SIGUSR2) == before
    monkeypatch.setenv("BENCH_OPTUNA", "mysql://bob:sesame@127.0.0.1:1/none")
    failed = work(config, (signal.SIGUSR2,))
    assert failed.reason
    assert "sesame" not in failed.reason
