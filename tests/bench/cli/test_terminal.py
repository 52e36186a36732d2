"""Consoles on terminals that cannot show every character: in a process of its own, where the encoding is set."""

from __future__ import annotations

import subprocess
import sys

import pytest

SAY = "from bench.cli.terminal import console, errors\nconsole.print('\\u2192'); errors.print('\\u2192'); print('\\u2192')"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "ascii:strict"])
def test_a_character_that_cannot_be_shown_ends_nothing(encoding: str) -> None:
    environment = {"PYTHONIOENCODING": encoding, "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", SAY], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") == 2
