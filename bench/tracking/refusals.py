"""Why an MLflow store cannot be used, in one line with the remedy."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence

from bench.environment import mask_secrets
from bench.records.addresses import sqlite_file

LATER = "everything is recorded all the same, and `bench sync` shows it later"
PACKAGES = {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""What to install for a driver whose package has another name."""

_SCHEMA = re.compile(r"out-of-date database schema|Can't locate revision|db upgrade", re.IGNORECASE)
_DAMAGED = re.compile(
    r"not a database|malformed|another program|disk image|no such table|no such column", re.IGNORECASE
)
_LOCKED = re.compile(r"database is locked|readonly database|read-only", re.IGNORECASE)
_REFUSED = re.compile(
    r"authentication failed|no password supplied|\b40[13]\b|permission denied|unauthorized|forbidden|role \S+ does not exist"
    r"|database \S+ does not exist|unknown database|access denied",
    re.IGNORECASE,
)


def refusal(uri: str, error: BaseException) -> str:
    """The rule, what was got and the remedy for a store at ``uri`` that raised an error; without passwords."""
    shown, chain = mask_secrets(uri), chain_of(error)
    text = " ".join(" ".join(str(one) for one in chain).split())
    scheme = urllib.parse.urlsplit(uri).scheme
    if scheme in ("", "file"):
        return (
            f"the MLflow store must be a database or a server, but MLFLOW_TRACKING_URI={shown} is a folder or a file; write "
            f"sqlite:///{_as_database(uri)} for a file, or http://HOST:PORT (a store of files is carried over by `mlflow "
            f"migrate-filestore`); {LATER}"
        )
    if any(isinstance(one, ImportError) for one in chain):
        return f"the MLflow store {shown} needs its driver, which is not installed: {_missing(chain)}; {LATER}"
    if scheme.partition("+")[0] not in ("sqlite", "postgresql", "mysql", "mssql", "http", "https"):
        return (
            "the MLflow store must be at a URL with sqlite, postgresql, mysql, mssql, http or https, but "
            f"MLFLOW_TRACKING_URI={shown}; {LATER}"
        )
    return _of_content(uri, shown, text, chain)


def _of_content(uri: str, shown: str, text: str, chain: list[BaseException]) -> str:
    """The reason where the address is one of MLflow's."""
    if _SCHEMA.search(text):
        return (
            f"the MLflow store must have the schema of this MLflow, but {shown} has another version's; make a backup, then "
            f"`mlflow db upgrade '{shown}'` (where a newer MLflow made it: install that one); {LATER}"
        )
    file = sqlite_file(uri)
    if file is not None:
        return _of_file(shown, text, chain)
    refused = _REFUSED.search(text)
    if refused is not None:
        return (
            f"the MLflow store must accept this account, but {shown} refuses it ({refused[0]}); correct MLFLOW_TRACKING_URI, "
            f"MLFLOW_TRACKING_USERNAME or MLFLOW_TRACKING_PASSWORD; {LATER}"
        )
    why = reason(chain)
    return f"the tracking store must answer, but {shown} does not ({why}); start the server; {LATER}"


def _of_file(shown: str, text: str, chain: list[BaseException]) -> str:
    """The reason where the store is a SQLite file."""
    system = next((one for one in chain if isinstance(one, OSError)), None)
    if system is not None:
        why = system.strerror or reason(chain)
        return f"the MLflow store must be a file that can be written, but {shown} is not ({why}); correct that; {LATER}"
    if (found := _LOCKED.search(text)) is not None:
        return (
            f"the MLflow store must be writable, but {shown} is not ({found[0]}); end what holds it, or make the file "
            f"writable; {LATER}"
        )
    if (found := _DAMAGED.search(text)) is not None:
        return (
            f"the MLflow store must be a database of MLflow, but {shown} is not ({found[0]}); move that file away and "
            "`bench sync` makes it anew from the records"
        )
    return f"the MLflow store must be a file that can be opened, but {shown} cannot ({reason(chain)}); correct that; {LATER}"


def _as_database(uri: str) -> str:
    path = urllib.parse.unquote(urllib.parse.urlsplit(uri).path)
    return path if path.endswith(".db") else f"{path.rstrip('/')}/mlflow.db"


def _missing(chain: list[BaseException]) -> str:
    name = next((one.name for one in chain if isinstance(one, ImportError) and one.name), None)
    return f"`pip install {PACKAGES.get(name, name)}`" if name else reason(chain)


def reason(chain: Sequence[BaseException]) -> str:
    """What the innermost of an error and its causes says."""
    texts = [" ".join(str(getattr(one, "orig", None) or one).split()) for one in chain]
    found = next((text for text in reversed(texts) if text), "it gave no reason")
    return mask_secrets(found[:200])


def chain_of(error: BaseException) -> list[BaseException]:
    """An error and its causes."""
    found = list[BaseException]()
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found
