"""Commands that start servers on this machine: `bench servers`, `bench proxy`."""

from __future__ import annotations

import signal
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bench.errors import BenchError

Port = Annotated[int, typer.Option(min=1, max=65535)]
console = Console(highlight=False)


def servers(
    detach: Annotated[bool, typer.Option("--detach", help="start them in the background, and return")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="stop those in the background; the data stay")] = False,
    proxy: Annotated[
        bool, typer.Option("--proxy", help="put Optuna's gRPC proxy in front: for a hundred workers")
    ] = False,
    artifacts: Annotated[
        str, typer.Option(help="where MLflow's server keeps files: s3://BUCKET/FOLDER, or a folder; default: beside it")
    ] = "",
    postgres_port: Port = 5433,
    mlflow_port: Port = 5000,
    proxy_port: Port = 13000,
) -> None:
    """Start a PostgreSQL and an MLflow server on the loopback address, with passwords of their own; Ctrl-C stops them.

    Data, passwords and logs lie in the folder of results under servers; started again, they go on with the data.
    """
    from bench.records.home import Home
    from bench.scheduler.servers.lab import Servers

    if detach and stop:
        raise BenchError("servers are started or stopped, but got --detach and --stop; leave one out")
    folder = Home().path / "servers"
    if stop and not folder.exists():
        raise BenchError(f"there are no servers in {folder}; start some with `bench servers`")
    lab = Servers(folder, postgres_port, mlflow_port, proxy_port if proxy else 0, artifacts)
    if stop:
        lab.stop()
        console.print(f"stopped; the data stay in {escape(str(folder))}", soft_wrap=True)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    try:
        with console.status("starting PostgreSQL and MLflow"):
            env = lab.start()
        _say(lab.environment["MLFLOW_TRACKING_URI"], lab.postgres_port, lab.proxy_port, str(env), detach)
        if detach:
            return
        lab.watch()
    except KeyboardInterrupt:
        lab.stop()
        console.print("stopped; the data stay, and the same command goes on with them")
    except BaseException:
        lab.stop()
        raise


def _say(mlflow: str, postgres: int, proxy: int, env: str, detached: bool) -> None:
    console.print(f"PostgreSQL: 127.0.0.1:{postgres}{f', Optuna proxy: 127.0.0.1:{proxy}' if proxy else ''}")
    console.print(f"MLflow: {mlflow} (account and password are in {escape(env)})", soft_wrap=True)
    console.print(f"to use them in another shell: [bold]. {escape(env)} && make study METHOD=drop[/]", soft_wrap=True)
    console.print("`bench servers --stop` ends them" if detached else "Ctrl-C ends them; the data stay")


def proxy(
    host: Annotated[str, typer.Option(help="the address to listen on; it has neither accounts nor TLS")] = "127.0.0.1",
    port: Port = 13000,
) -> None:
    """Serve the database of $BENCH_OPTUNA to many workers through Optuna's gRPC proxy; Ctrl-C ends it."""
    from bench.scheduler import storages

    try:
        from bench.scheduler.servers import proxy as serving
    except ImportError:
        raise BenchError(f"the proxy needs gRPC, which is not installed; {storages.EXTRA}") from None
    serving.serve(console, host, port)
