"""A private PostgreSQL server from the system's packages, on the loopback address, with a password for every account.

PostgreSQL refuses to run as root; if we are root, it runs as the system's account ``postgres``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.errors import BenchError
from bench.scheduler.servers import daemons

OWNER = "postgres"
CONNECTIONS = 200  # at most; every worker holds one or two
INSTALL = "`apt-get install postgresql` (or set BENCH_POSTGRES to the folder of initdb)"


def programs() -> Path:
    """The folder of initdb, pg_ctl and postgres: `$BENCH_POSTGRES`, else Debian's newest, else from the PATH."""
    given = os.environ.get("BENCH_POSTGRES")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    folders = list(versions)
    if on_path:
        folders.append(Path(on_path).parent)
    if given:
        folders = [Path(given)]
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise BenchError(f"servers need PostgreSQL, which is not installed; {INSTALL}")


@dataclass
class Postgres:
    """A server with its data in ``folder``. ``accounts`` maps names to passwords; ``postgres`` is the administrator."""

    folder: Path
    port: int
    accounts: Mapping[str, str]

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "postgres.log"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def url(self, account: str, database: str = "") -> str:
        """SQLAlchemy's URL of a database, with the account's password; the default database has the account's name."""
        return f"postgresql+psycopg://{account}:{quote(self.accounts[account], safe='')}@{self._where}/{database or account}"

    @property
    def _where(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server, unless it is running, and wait until it answers; creates the data folder if there is none."""
        bin_ = programs()
        if self.running():
            used = (self._data / "postmaster.pid").read_text().split("\n")[3]
            if used != str(self.port):
                raise BenchError(
                    f"PostgreSQL must run on port {self.port}, but runs on port {used}; `bench servers --stop` first"
                )
            return
        daemons.require_free(self.port, "PostgreSQL", "--postgres-port")
        if not (self._data / "PG_VERSION").exists():
            self._make(bin_)
        self._same_version(bin_)
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections={CONNECTIONS}"
        begun = self._run(bin_ / "pg_ctl", "-D", self._data, "-l", self.log, "-w", "-t", "60", "-o", options, "start")
        if begun.returncode:
            said = daemons.last_line(self.log)
            raise BenchError(f"PostgreSQL must start, but did not: {said}; more is in {self.log}")

    def _make(self, bin_: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._require_access()
        shutil.rmtree(self._data, ignore_errors=True)  # a kill may have left it incomplete, without PG_VERSION
        secret = self.folder / ".password"
        daemons.private(secret, self.accounts[OWNER])
        if os.geteuid() == 0:
            for path in (self.folder, secret):
                shutil.chown(path, OWNER, OWNER)
        try:
            made = self._run(
                *(bin_ / "initdb", "-D", self._data, "-U", OWNER, "--pwfile", secret),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"),
            )
        finally:
            secret.unlink(missing_ok=True)
        if made.returncode:
            said = " ".join((made.stderr or made.stdout).split())[-300:]
            raise BenchError(f"PostgreSQL must make its data folder {self._data}, but did not: {said}")

    def _require_access(self) -> None:
        """If we are root, require that the server's account exists and can enter every folder above its data."""
        if os.geteuid() != 0:
            return
        try:
            pwd.getpwnam(OWNER)
        except KeyError:
            raise BenchError(f"as root, PostgreSQL runs as the account {OWNER}, which is missing; {INSTALL}") from None
        if self._run("/usr/bin/test", "-x", self.folder.parent).returncode:
            raise BenchError(
                f"as root, PostgreSQL runs as the account {OWNER}, which cannot enter {self.folder.parent}; set BENCH_HOME to "
                "a folder that others can enter, such as /srv/bench, or use an ordinary account"
            )

    def _same_version(self, bin_: Path) -> None:
        made, ours = (self._data / "PG_VERSION").read_text().strip(), self._run(bin_ / "postgres", "--version").stdout
        if f" {made}." not in ours:
            raise BenchError(
                f"PostgreSQL must have the version that created the data, {made}, but is {ours.strip()}; install {made}, or "
                "transfer the data with pg_dump"
            )

    def running(self) -> bool:
        """Whether the server of this folder runs."""
        if not (self._data / "PG_VERSION").exists():
            return False
        return self._run(programs() / "pg_ctl", "-D", self._data, "status").returncode == 0

    def stop(self, how: str = "fast") -> None:
        """Stop the server: "fast" rolls open transactions back, "immediate" ends it as a crash would."""
        if self.running():
            self._run(programs() / "pg_ctl", "-D", self._data, "-w", "-m", how, "stop")

    def provide(self, databases: Mapping[str, str]) -> None:
        """Create missing databases and the accounts of their owners; ``databases`` maps names to owners."""
        import psycopg  # here, because it is an extra
        from psycopg import sql

        address = f"host=127.0.0.1 port={self.port} user={OWNER} dbname=postgres"
        with psycopg.connect(address, password=self.accounts[OWNER], autocommit=True) as connection:
            for account in sorted({*databases.values()}):
                if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [account]).fetchone():
                    hashed = connection.pgconn.encrypt_password(
                        self.accounts[account].encode(), account.encode(), b"scram-sha-256"
                    )  # hashed, so that the server's log cannot hold the password
                    role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
                    connection.execute(role.format(sql.Identifier(account), sql.Literal(hashed.decode())))
            for database, owner in databases.items():
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
                    for text in ("CREATE DATABASE {0} OWNER {1}", "REVOKE CONNECT ON DATABASE {0} FROM PUBLIC"):
                        connection.execute(sql.SQL(text).format(sql.Identifier(database), sql.Identifier(owner)))

    def _run(self, *command: Any) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        if os.geteuid() == 0:
            words = ["runuser", "-u", OWNER, "--", *words]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        environment["LC_ALL"] = "C.UTF-8"
        with open(os.devnull) as empty:
            return subprocess.run(
                words, cwd="/", env=environment, stdin=empty, capture_output=True, text=True, check=False
            )
