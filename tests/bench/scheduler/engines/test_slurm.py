"""The parameters of sbatch; on a real cluster: test_slurm_cluster.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.scheduler import engines
from bench.scheduler.engines import slurm
from bench.scheduler.engines.base import Resources


def test_slurm_is_started_from_one_of_its_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="sbatch is not on the PATH"):
        engines.engine("slurm", Resources())


@pytest.mark.parametrize(("text", "minutes"), [("1-02:03:04", 1563), ("00:30:00", 30), ("UNLIMITED", 0), ("NONE", 0)])
def test_limits_of_partitions_in_minutes(text: str, minutes: int) -> None:
    assert slurm._minutes(text) == minutes


def test_the_script_for_sbatch() -> None:
    pytest.importorskip("submitit")
    from submitit.slurm.slurm import _make_sbatch_string

    resources = Resources(2, cpus=1.5, gpus=1, memory_gb=0.5, minutes=60, partition="gpu", options=("account=my lab",))
    text = _make_sbatch_string(command="true", folder="x", **slurm.parameters(resources, "name"))
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    wanted = {
        "cpus-per-task=2",
        "gpus-per-node=1",
        "mem=512MB",
        "time=60",
        "partition=gpu",
        "account='my lab'",
        "requeue",
    }
    assert wanted <= set(lines)
    assert {"signal=USR2@120", "export=ALL"} <= set(lines)
    assert "--cpus-per-task=2" in text.splitlines()[-1]
