"""The client of Optuna's gRPC proxy, with a time limit for every call."""

from __future__ import annotations

from typing import Any

import grpc
from optuna.storages import GrpcStorageProxy
from optuna.storages._grpc.auto_generated import api_pb2_grpc
from optuna.storages._grpc.client import GrpcClientCache

DEADLINE = 60.0  # seconds for an answer; without a limit, a call over a cut network would never return


class Proxy(GrpcStorageProxy):
    """Optuna's client with a time limit for every call."""

    def _setup(self) -> None:
        super()._setup()
        self._stub = api_pb2_grpc.StorageServiceStub(  # type: ignore[no-untyped-call]
            grpc.intercept_channel(self._channel, _Deadline())
        )
        self._cache = GrpcClientCache(self._stub)


class _Deadline(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(client_call_details._replace(timeout=DEADLINE), request)
