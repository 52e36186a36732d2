"""Addresses of SQLite stores: from the URL that a user writes to a file, and from a file to the URL that SQLAlchemy reads."""

from __future__ import annotations

import re
from pathlib import Path

_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?P<file>.+?)(?P<query>\?\w+=[^/]*)?", re.DOTALL)


def sqlite_file(address: str) -> Path | None:
    """The absolute path of the file that a SQLite URL names; None for other stores and for databases in memory.

    What follows ``sqlite:///`` is the path as it is: "?", "#" and "%" in it are parts of names, except for options at its
    end. A relative path begins at the working directory, and ``~`` is the user's folder.
    """
    found = _SQLITE.fullmatch(address)
    if found is None or found["file"] == ":memory:":
        return None
    path = re.sub("^/+", "/", found["file"])
    return (Path(path).expanduser() if path.startswith("~") else Path(path)).absolute()


def sqlite_query(address: str) -> str:
    """The options at the end of a SQLite URL, such as "?timeout=30"; "" without any."""
    found = _SQLITE.fullmatch(address)
    return "" if found is None else found["query"] or ""


def sqlite_url(file: Path) -> str:
    """The URL that SQLAlchemy reads as this file."""
    return f"sqlite:///{str(file).replace('%', '%25').replace('?', '%3F')}"
