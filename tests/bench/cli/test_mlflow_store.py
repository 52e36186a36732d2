"""`bench ui`: the server that it starts ends with it, however it is asked to end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time

import pytest

SERVER = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'http.server', '{port}', '-b', '127.0.0.1'])"
UI = "import os, sys; from bench.cli.mlflow_store import _serve_until_stopped as serve; serve(sys.argv[1:], dict(os.environ))"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def wait_until(port: int, *, answering: bool) -> None:
    until = time.monotonic() + 60
    while answers(port) != answering:
        assert time.monotonic() < until, f"the server on {port} answers: {not answering}"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_server_with_workers_leaves_its_port(number: int) -> None:
    port = free_port()
    server = (sys.executable, "-c", SERVER.format(port=port))  # as MLflow: the process that listens is a child
    process = subprocess.Popen([sys.executable, "-c", UI, *server])
    try:
        wait_until(port, answering=True)
        process.send_signal(number)
        assert process.wait(60) == 0
        wait_until(port, answering=False)
    finally:
        process.kill()
        process.wait()
