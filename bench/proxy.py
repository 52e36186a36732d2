"""Optuna's gRPC proxy: one process holds the database's connections for many workers, and caches finished trials.

It knows no accounts and no TLS, so it listens on the loopback address unless it is told otherwise. It hands on no heartbeats.
"""

from __future__ import annotations

import contextlib
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from optuna.exceptions import ExperimentalWarning
from optuna.storages import GrpcStorageProxy, run_grpc_proxy_server
from optuna.storages._grpc.auto_generated import api_pb2_grpc
from optuna.storages._grpc.client import GrpcClientCache
from rich.console import Console

from bench import daemons
from bench.errors import BenchError
from bench.machine import mask_secrets
from bench.place import Place
from bench.storages import open_storage

DEADLINE = 60.0  # seconds for one answer; without one, a call over a cut network would wait for ever
THREADS = 15  # as many connections as SQLAlchemy opens


class Proxy(GrpcStorageProxy):
    """Optuna's client with a deadline on every call."""

    def _setup(self) -> None:
        super()._setup()
        self._stub = api_pb2_grpc.StorageServiceStub(  # type: ignore[no-untyped-call]
            grpc.intercept_channel(self._channel, _Deadline())
        )
        self._cache = GrpcClientCache(self._stub)


class _Deadline(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details._replace(timeout=DEADLINE), request)


def serve(console: Console, host: str, port: int) -> None:
    """Serve the database of `$BENCH_OPTUNA` until Ctrl-C."""
    url = Place().storage
    if url is None or url.startswith("grpc://"):
        raise BenchError("a proxy stands before a database, but BENCH_OPTUNA names none; set it to its URL")
    storage = open_storage(url, Path())
    daemons.require_free(port, "the proxy", "--port", host)
    console.print(f"Optuna proxy: grpc://{host}:{port} before {mask_secrets(url)}  (Ctrl-C ends it)", soft_wrap=True)
    with contextlib.suppress(KeyboardInterrupt), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        run_grpc_proxy_server(storage, host=host, port=port, thread_pool=ThreadPoolExecutor(THREADS))
