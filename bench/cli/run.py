"""The command `bench run`."""

from __future__ import annotations

from typing import Annotated

import typer

from bench import registry
from bench.cli import catalog
from bench.cli.options import Machine, Settings, flat, with_device


@flat
def run_command(
    method: Annotated[str, typer.Argument(help="a method's name: see `bench list methods`")],
    machine: Machine,
    settings: Settings = None,
    track: Annotated[bool, typer.Option(help="show the run in MLflow while it is computed")] = True,
) -> None:
    """Compute one run: train, prune, measure, record. If it was interrupted, the same command resumes it."""
    registry.module(registry.METHODS, method)  # refused here, before torch is imported
    catalog.check_settings(method, settings or ())
    from bench.cli import single_run  # here, because torch takes seconds to import

    single_run.compute(method, with_device(settings, machine.device), machine, track=track)
