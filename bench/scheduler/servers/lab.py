"""Servers to try a lab's setting, and for tests: PostgreSQL, MLflow on it, and Optuna's proxy, on the loopback address.

<home>/servers/secrets.json   random passwords, made once (only the owner can read this and all other files here)
               env            environment variables for a shell: `. <home>/servers/env`
               postgres/      the database's files and log
               artifacts/     MLflow's files; *.log, *.pid: of the programs
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shlex
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError, Corrupt
from bench.scheduler.servers import daemons
from bench.scheduler.servers.daemons import Daemon
from bench.scheduler.servers.postgres import Postgres, programs
from bench.scheduler.storage_errors import EXTRA

DATABASES = {"optuna": "optuna", "mlflow": "mlflow", "mlflow_auth": "mlflow"}  # with their owners
ADMIN = "admin"  # MLflow's account


@dataclass
class Servers:
    """The servers of one folder.

    Attributes:
        folder: their files.
        postgres_port: of PostgreSQL.
        mlflow_port: of MLflow.
        proxy_port: of Optuna's proxy; 0: no proxy.
        artifacts: a folder, or a URL such as s3://BUCKET, for files that are uploaded to MLflow; "": in ``folder``.
        workers: of MLflow; with more than one, its supervisor ends those that a busy machine delays.
    """

    folder: Path
    postgres_port: int = 5433
    mlflow_port: int = 5000
    proxy_port: int = 0
    artifacts: str = ""
    workers: int = 1
    postgres: Postgres = field(init=False)
    mlflow: Daemon = field(init=False)
    proxy: Daemon = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)  # the database's account must enter it, but not list it
        self._secrets = self._passwords()
        self.postgres = Postgres(self.folder / "postgres", self.postgres_port, self._secrets)
        self.mlflow = Daemon(
            "mlflow", self.folder, self._mlflow_command(), self._mlflow_answers, self._mlflow_environment()
        )
        command = [sys.executable, "-m", "bench", "proxy", "--port", str(self.proxy_port)]
        own = {"BENCH_OPTUNA": self.postgres.url("optuna")}
        self.proxy = Daemon("proxy", self.folder, command, lambda: _listens(self.proxy_port), own)

    def _passwords(self) -> dict[str, str]:
        path, names = self.folder / "secrets.json", ("postgres", "optuna", "mlflow", ADMIN, "key")
        if not path.exists():
            if (self.folder / "postgres" / "data").exists():
                raise Corrupt(f"servers need their passwords, but {path} is missing; restore it, or use a new folder")
            daemons.private(path, json.dumps({name: secrets.token_urlsafe(24) for name in names}, indent=1) + "\n")
        found: dict[str, str] = json.loads(path.read_text())
        return found

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with which commands and workers use these servers."""
        optuna = self.postgres.url("optuna")
        if self.proxy_port:
            optuna = f"grpc://127.0.0.1:{self.proxy_port}"
        return {
            "BENCH_OPTUNA": optuna,
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.mlflow_port}",
            "MLFLOW_TRACKING_USERNAME": ADMIN,
            "MLFLOW_TRACKING_PASSWORD": self._secrets[ADMIN],
        }

    def start(self) -> Path:
        """Start the servers that do not run, wait until each answers, and write the file ``env``; returns its path."""
        self._require_packages()
        self.postgres.start()
        self.postgres.provide(DATABASES)
        if not self.mlflow.running():
            daemons.require_free(self.mlflow_port, "MLflow", "--mlflow-port")
        self.mlflow.start()
        if self.proxy_port:
            if not self.proxy.running():
                daemons.require_free(self.proxy_port, "the proxy", "--proxy-port")
            self.proxy.start()
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in self.environment.items()]
        daemons.private(self.folder / "env", "".join(lines))
        return self.folder / "env"

    def stop(self) -> None:
        """Stop them: first those that hold connections, the database last."""
        self.proxy.stop()
        self.mlflow.stop()
        self.postgres.stop()

    def watch(self) -> None:
        """Wait until one of them has ended.

        Raises:
            BenchError: always; it names the server and the last line of its log.
        """
        servers = [self.mlflow]
        if self.proxy_port:
            servers.append(self.proxy)
        while True:
            for server in servers:
                if not server.running():
                    raise BenchError(
                        f"{server.name} must keep running, but ended: {daemons.last_line(server.log)}; see {server.log}"
                    )
            if not self.postgres.running():
                raise BenchError(f"PostgreSQL must keep running, but ended: {daemons.last_line(self.postgres.log)}")
            time.sleep(2)

    def _require_packages(self) -> None:
        programs()
        needed = ["psycopg", "mlflow", "flask_wtf"]
        if self.proxy_port:
            needed.append("grpc")
        missing = [name for name in needed if importlib.util.find_spec(name) is None]
        if missing:
            raise BenchError(f"servers need the packages {', '.join(missing)}, which are not installed; {EXTRA}")
        if self.artifacts.startswith("s3://") and importlib.util.find_spec("boto3") is None:
            raise BenchError("artifacts on s3:// need boto3, which is not installed; pip install boto3")

    def _mlflow_command(self) -> list[str]:
        places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        return [
            *(shutil.which("mlflow", path=places) or "mlflow", "server", "--host", "127.0.0.1"),
            *("--port", str(self.mlflow_port), "--workers", str(self.workers), "--app-name", "basic-auth"),
            *("--artifacts-destination", self.artifacts or str(self.folder / "artifacts")),
        ]

    def _mlflow_environment(self) -> dict[str, str]:
        """Settings that must not be on a command line; and no tracking server, which the caller may have set."""
        settings = self.folder / "auth.ini"
        address = self.postgres.url("mlflow", "mlflow_auth").replace("%", "%%")
        text = f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {address}\nadmin_username = {ADMIN}\n"
        daemons.private(settings, text + "auth_cache_ttl_seconds = 60\n")
        return {
            "MLFLOW_BACKEND_STORE_URI": self.postgres.url("mlflow"),
            "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self._secrets[ADMIN],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self._secrets["key"],
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # not needed, and it starts ten processes
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": "",
        }

    def _mlflow_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.mlflow_port}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
