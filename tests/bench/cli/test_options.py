"""Groups of options, flattened for Typer, and the values that their text stands for."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from bench.cli import main, options
from bench.errors import BenchError


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option(min=1, help="columns")] = 3
    name: Annotated[str, typer.Option(help="of it")] = ""


@dataclass(frozen=True)
class Box(Size):
    depth: Annotated[float, typer.Option(help="of it")] = 1.0


def test_a_group_of_options_becomes_options_of_the_command() -> None:
    got = list[Any]()

    @options.flat
    def command(box: Box, what: Annotated[str, typer.Argument(help="a word")], loud: bool = False) -> None:
        """Say it."""
        got.append((box, what, loud))

    app = typer.Typer()
    app.command()(command)
    assert CliRunner().invoke(app, ["word", "--width", "5", "--loud"]).exit_code == 0
    assert got == [(Box(width=5), "word", True)]
    assert CliRunner().invoke(app, ["word", "--width", "0"]).exit_code == 2  # the range is checked
    assert command.__doc__ == "Say it."


def test_no_command_has_two_options_of_one_name_and_all_have_help() -> None:
    for name, command in main.COMMANDS.items():
        assert command.__doc__, name
        assert len(inspect.signature(command).parameters) == len(command.__annotations__.keys() - {"return"}), name


@pytest.mark.parametrize(
    ("gpus", "jobs", "expected"), [("", 3, 3), ("0,1", 0, 2), ("0,0,1", 0, 3), ("0", 5, 5), ("", 0, 2)]
)
def test_runs_side_by_side(gpus: str, jobs: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert options.SideBySide(gpus=gpus, jobs=jobs).job_count == expected


def test_at_most_four_runs_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert options.default_jobs(()) == 4


def test_numbers() -> None:
    assert options.numbers("1,2", int, "seeds") == (1, 2)
    assert options.numbers("0.5", float, "targets") == (0.5,)
    with pytest.raises(BenchError, match="--seeds must be numbers separated by commas, but got 'a'"):
        options.numbers("a", int, "seeds")


def test_the_device_is_a_setting() -> None:
    assert options.with_device(["lr=1"], "cpu") == ["lr=1", "device=cpu"]
    assert options.with_device(None, "") == []


def test_workers_of_this_process_need_no_engine() -> None:
    assert options.Workers().engine() is None
    with pytest.raises(BenchError, match="no engine 'rey'; did you mean 'ray'"):
        options.Workers(on="rey").engine()
