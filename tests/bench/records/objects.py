"""An object store for tests: moto's server, which speaks S3 over HTTP on loopback."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest

BUCKET = "lab"


@contextlib.contextmanager
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server with an empty bucket, named in the environment as a lab would name its own; gives the URL of a prefix."""
    for package in ("moto.server", "s3fs", "boto3"):
        pytest.importorskip(package, reason=f"needs {package.partition('.')[0]}: pip install 'moto[server]' s3fs")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    for name in ("AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL"):
        monkeypatch.setenv(name, address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "lab")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        answers(f"{address}/moto-api/data.json", server)
        make = urllib.request.Request(f"{address}/{BUCKET}", method="PUT", headers={"Authorization": "AWS lab:x"})
        urllib.request.urlopen(make).close()
        yield f"s3://{BUCKET}/prefix"
    finally:
        server.kill()
        server.wait()


def answers(address: str, server: subprocess.Popen[bytes]) -> None:
    """Wait for a server that was just started."""
    for _ in range(3000):
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no answer from {address}")
