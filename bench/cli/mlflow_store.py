"""MLflow's store on the command line: filling it from records, and serving its UI."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from rich.markup import escape

from bench import tracking
from bench.cli.terminal import console
from bench.environment import mask_secrets
from bench.errors import BenchError, MissingData
from bench.records.addresses import sqlite_file, sqlite_url
from bench.records.home import Home
from bench.records.watcher import LOOSE

PATIENCE = 5.0  # seconds that MLflow's server may take to end


def sync(records: Path | None) -> None:
    """Send all studies and single runs of this home, or of the home in ``records``, to MLflow.

    Raises:
        BenchError: there are no records, or the store does not answer.
    """
    home = replace(Home(), path=records) if records else Home()
    if records is not None and not (records / "runs").is_dir():
        raise MissingData(f"a home holds runs/, but {records} does not; give the folder that $BENCH_HOME named")
    target = home if "MLFLOW_TRACKING_URI" in os.environ else Home()
    os.environ["MLFLOW_TRACKING_URI"] = target.tracking_uri
    names = home.records.studies()
    if tracking.loose_entries(home.records):
        names.append(LOOSE)
    if not names:
        raise MissingData(f"no records in {home.path}; run something first, or name a folder with --records")
    for name in names:
        with console.status(f"syncing {name}"):
            updated = tracking.sync_study(home, name)
        console.print(f"{escape(name)}: {updated} runs updated", soft_wrap=True)


def serve(host: str, port: int) -> None:
    """Serve the MLflow UI over the store until Ctrl-C.

    Raises:
        BenchError: MLflow is not installed, the store is a server, does not answer, or the port is taken.
    """
    home = Home()
    if not tracking.available():
        raise BenchError("the UI needs mlflow, which is not installed; `pip install mlflow`")
    if home.tracking_uri.startswith(("http://", "https://")):
        raise BenchError(f"the UI is for a store, but a server has its own page: {mask_secrets(home.tracking_uri)}")
    tracking.connect(home)  # makes the store, or says what is wrong with it
    console.print(f"MLflow UI: http://{host}:{port}  (Ctrl-C ends it)")
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    program = shutil.which("mlflow", path=os.pathsep.join(folders)) or "mlflow"
    command = [program, "ui", "--host", host, "--port", str(port)]
    if home.artifacts:
        command += ["--default-artifact-root", str(home.artifacts)]
    file = sqlite_file(home.tracking_uri)
    address = home.tracking_uri if file is None else sqlite_url(file)
    store = {**os.environ, "MLFLOW_BACKEND_STORE_URI": address}  # not an argument: others can read those
    if _serve_until_stopped(command, store) > 0:
        raise BenchError(f"the UI needs a free port, but it ended at once on {host}:{port}; try --port")


def _serve_until_stopped(command: list[str], environment: dict[str, str]) -> int:
    """Run a server until it ends, or until Ctrl-C, SIGTERM or SIGHUP ends this process; returns its exit code, 0 if it was
    stopped. The server has a process group of its own, so that its workers end with it and leave the port."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # of a job in the background SIGINT is ignored
        signal.signal(number, signal.default_int_handler)
    with subprocess.Popen(command, env=environment, start_new_session=True) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            _end_group(server)


def _end_group(server: subprocess.Popen[bytes]) -> None:
    """Ask all processes of a server to end; those that do not within `PATIENCE` seconds are killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(PATIENCE)
