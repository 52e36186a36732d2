from __future__ import annotations

from typing import Any

import optuna
import pytest
from sqlalchemy import exc

from bench.scheduler.storage_errors import RETRY_AFTER, TransientErrors, transient


class _Answer(Exception):
    """The part of gRPC's error that is read."""

    def __init__(self, name: str, details: str = "") -> None:
        self._code, self._details = type("Code", (), {"name": name}), details

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details


def wrapped(cause: Exception) -> Exception:
    """The error of Optuna's session around the database's."""
    error = optuna.exceptions.StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = cause
    return error


def operational(text: str) -> exc.OperationalError:
    return exc.OperationalError("SELECT 1", None, Exception(text))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (operational("server closed the connection unexpectedly"), True),
        (wrapped(operational("terminating connection due to administrator command")), True),
        (operational("database is locked"), True),
        (exc.InterfaceError("SELECT 1", None, Exception("connection already closed")), True),
        (exc.DBAPIError("SELECT 1", None, Exception("gone"), connection_invalidated=True), True),
        (ConnectionError("GRPC connection timeout"), True),
        (_Answer("UNAVAILABLE"), True),
        (_Answer("DEADLINE_EXCEEDED"), True),
        (_Answer("UNKNOWN", "Exception calling application: An exception is raised during the commit."), True),
        (operational('password authentication failed for user "me"'), False),
        (operational("no such table: studies"), False),
        (wrapped(exc.DataError("INSERT", None, Exception("value too long"))), False),
        (exc.IntegrityError("INSERT", None, Exception("duplicate key")), False),
        (_Answer("NOT_FOUND"), False),
        (_Answer("UNKNOWN", "Exception calling application: 'x'"), False),
        (optuna.exceptions.UpdateFinishedTrialError("done"), False),
        (KeyError("x"), False),
    ],
)
def test_only_an_error_of_a_server_that_is_away_is_transient(error: Exception, expected: bool) -> None:
    assert transient(error) is expected


def test_a_storage_that_is_away_is_reported_once_and_its_return_too() -> None:
    said, waits = list[str](), list[float]()
    errors = TransientErrors(said.append, waits.append)
    for _ in range(3):
        with errors.retried_later():
            raise ConnectionError("GRPC connection timeout")
    assert waits == [RETRY_AFTER] * 3
    assert said == ["the study's storage is away (GRPC connection timeout); runs continue, and it is tried again"]
    for _ in range(2):
        with errors.retried_later():
            pass
    assert said[1:] == ["the study's storage is back"]


def test_other_errors_are_raised() -> None:
    errors = TransientErrors(print, lambda seconds: None)
    with pytest.raises(KeyError), errors.retried_later():
        raise KeyError("x")
