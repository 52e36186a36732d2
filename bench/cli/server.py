"""Commands that start servers on this machine: `bench servers`, `bench proxy`, `bench ui`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from bench.cli.terminal import console
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.scheduler.servers.lab import Servers

Port = Annotated[int, typer.Option(min=1, max=65535)]


def servers_command(
    detach: Annotated[bool, typer.Option("--detach", help="start the servers in the background, and return")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="stop the servers in the background; the data stay")] = False,
    proxy: Annotated[
        bool, typer.Option("--proxy", help="also start Optuna's gRPC proxy, for a hundred workers and more")
    ] = False,
    artifacts: Annotated[
        str, typer.Option(help="where MLflow's server keeps files: s3://BUCKET/FOLDER, or a folder; default: beside it")
    ] = "",
    postgres_port: Port = 5433,
    mlflow_port: Port = 5000,
    proxy_port: Port = 13000,
) -> None:
    """Start a PostgreSQL and an MLflow server on the loopback address, with random passwords; Ctrl-C stops them.

    Data, passwords and logs are in $BENCH_HOME/servers. Servers that are started again use the same data.
    """
    from bench.records.home import Home
    from bench.scheduler.servers.lab import Servers  # here, because it imports Optuna's storages

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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the servers as Ctrl-C does
    try:
        with console.status("starting PostgreSQL and MLflow"):
            env = lab.start()
        _print_addresses(lab, str(env), detach)
        if detach:
            return
        lab.watch()
    except KeyboardInterrupt:
        lab.stop()
        console.print("stopped; the data stay, and the same command starts the servers with them")
    except BaseException:
        lab.stop()
        raise


def _print_addresses(lab: Servers, env: str, detached: bool) -> None:
    optuna = f"PostgreSQL: 127.0.0.1:{lab.postgres_port}"
    if lab.proxy_port:
        optuna += f", Optuna proxy: 127.0.0.1:{lab.proxy_port}"
    mlflow = lab.environment["MLFLOW_TRACKING_URI"]
    console.print(optuna)
    console.print(f"MLflow: {mlflow} (account and password are in {escape(env)})", soft_wrap=True)
    console.print(f"to use them in another shell: [bold]. {escape(env)} && make study METHOD=drop[/]", soft_wrap=True)
    console.print("`bench servers --stop` stops them" if detached else "Ctrl-C stops them; the data stay")


def proxy_command(
    host: Annotated[
        str, typer.Option(help="address to listen on; the proxy has neither accounts nor TLS")
    ] = "127.0.0.1",
    port: Port = 13000,
) -> None:
    """Serve the database of $BENCH_OPTUNA to many workers through Optuna's gRPC proxy; Ctrl-C stops it."""
    from bench.scheduler.storage_errors import EXTRA  # here, because it imports SQLAlchemy

    try:
        from bench.scheduler.servers import proxy as serving  # here, because gRPC is an extra
    except ImportError:
        raise BenchError(f"the proxy needs gRPC, which is not installed; {EXTRA}") from None
    serving.serve(console, host, port)


def ui_command(
    port: Port = 5000,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
) -> None:
    """Open the MLflow UI on the loopback address; Ctrl-C stops it."""
    from bench.cli import mlflow_store  # here, because MLflow takes seconds to import

    mlflow_store.serve(host, port)
