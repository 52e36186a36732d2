"""The command line: one file for each family of commands. Errors that a user can correct are one line and exit code 1.

Modules that declare commands import neither torch nor what imports it; a command imports the rest when it is called.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer

import bench
from bench.cli import explain, model, remote, report, run, server, study
from bench.cli.terminal import console, errors, plain
from bench.errors import BenchError

COMMANDS: dict[str, Callable[..., None]] = {
    "run": run.run_command,
    "study": study.study_command,
    "compare": study.compare_command,
    "work": study.work_command,
    "report": report.report_command,
    "export-data": report.export_data_command,
    "import-data": report.import_data_command,
    "push": remote.push_command,
    "pull": remote.pull_command,
    "servers": server.servers_command,
    "proxy": server.proxy_command,
    "docs": report.docs_command,
    "speed": model.speed_command,
    "evaluate": model.evaluate_command,
    "export": model.export_command,
    "load": model.load_command,
    "list": explain.list_command,
    "show": explain.show_command,
    "doctor": explain.doctor_command,
    "prunability": model.prunability_command,
    "sync": report.sync_command,
    "ui": server.ui_command,
}
"""All commands, in the order of `bench --help`."""

INTERRUPTED = 130  # the exit code that Typer gives Ctrl-C

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Benchmark pruning methods: run, tune, compare, report.

    Settings are written `key=value`; a key is a field of the run, of its recipe or of its method:
    `bench run gradual task=cifar10 model=cifar_resnet20 epochs=3 final=0.9 lr=0.01`.
    `bench show METHOD` lists a method's fields, `bench show run` those of the run and the recipe.
    """,
)
for name, command in COMMANDS.items():
    app.command(name)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"prunebench {bench.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Options of `bench` itself; the help text is the app's."""


def main() -> None:
    """Run the command line: user errors are printed on one line, Ctrl-C leaves no traceback."""
    try:
        app()
    except BenchError as error:
        _fail(str(error))
    except SystemExit as end:
        if end.code == INTERRUPTED:
            errors.print("stopped; everything finished is kept, and the same command resumes", soft_wrap=True)
        raise
    except OSError as error:
        _fail(_os_error(error))
    except Exception:  # a defect of the suite: the whole traceback, but without passwords that a library put into it
        errors.print(plain(traceback.format_exc()), soft_wrap=True, highlight=False)
        sys.exit(1)


def _fail(message: str) -> None:
    errors.print(f"[red]error:[/] {plain(message)}", soft_wrap=True)
    sys.exit(1)


def _os_error(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    reason = error.strerror or str(error)
    return f"files must be readable and writable, but: {reason}{where}; correct that and run the same command"


if __name__ == "__main__":
    main()
