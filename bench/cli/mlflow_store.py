"""MLflow's store on the command line: filling it from records, and serving its UI."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from rich.markup import escape

from bench import tracking
from bench.cli.terminal import console
from bench.environment import mask_secrets
from bench.errors import BenchError, MissingData
from bench.records.home import Home
from bench.records.watcher import LOOSE


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
    store = {**os.environ, "MLFLOW_BACKEND_STORE_URI": home.tracking_uri}  # not an argument: others can read those
    with contextlib.suppress(KeyboardInterrupt):
        ended = subprocess.run(command, env=store, check=False)
        if ended.returncode > 0:
            raise BenchError(f"the UI needs a free port, but it ended at once on {host}:{port}; try --port")
