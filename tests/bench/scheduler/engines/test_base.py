from __future__ import annotations

from typing import Any

import pytest

from bench.errors import BenchError
from bench.scheduler.engines.base import Resources


@pytest.mark.parametrize(
    ("resources", "rule"),
    [
        ({"workers": 0}, "one worker at least"),
        ({"gpus": 1.5}, "a part of one GPU or whole ones"),
        ({"cpus": -1}, "cannot be negative, but cpus is -1"),
        ({"memory_gb": float("nan")}, "memory_gb is nan"),
        ({"options": ("--account lab",)}, "written key=value"),
        ({"options": ("comment=a\n#SBATCH --uid=0",)}, "written key=value"),
    ],
)
def test_resources_that_no_cluster_has_are_refused(resources: dict[str, Any], rule: str) -> None:
    with pytest.raises(BenchError, match=rule):
        Resources(**resources)
