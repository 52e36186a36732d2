"""The Makefile: what it hands on is shown, and what it does not know is refused. No command is carried out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """What `make` would do."""
    return subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("given", ["method=gradual", "METHD=gradual", "epochs=3"])
def test_a_variable_that_make_does_not_know_is_refused(given: str) -> None:
    done = make("study", given)
    assert done.returncode != 0
    assert f"but got {given.partition('=')[0]};" in done.stderr
    assert "write METHOD=gradual in capitals" in done.stderr


@pytest.mark.parametrize(
    "given", [(), ("METHOD=gradual",), ("METHOD=gradual", "ARGS=--seed 3 epochs=2", "BENCH_HOME=/x")]
)
def test_the_method_of_a_study_is_said(given: tuple[str, ...]) -> None:
    done = make("study", *given)
    assert done.returncode == 0, done.stderr
    method = "gradual" if given else "sap"
    assert f'echo "STUDY=pareto METHOD={method}"' in done.stdout
    assert f"bench study {method} " in done.stdout
