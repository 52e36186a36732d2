"""A folder at a URL of fsspec: list, read, write and remove files. Writing is atomic; errors are one line.

An object store writes a file as a whole or not at all. Elsewhere (a mounted folder, SFTP) a file is sent under a temporary
name and then renamed, so that nobody reads an incomplete one.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator, Mapping
from typing import Any

from bench.environment import mask_secrets
from bench.errors import BenchError

WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "memory"}  # protocols that write whole files
_REFUSALS = ("Credential", "Authentication", "BadHostKey")  # parts of the names of errors about access


class Away(BenchError):
    """The remote does not answer now; it may answer later."""


class Remote:
    """A folder at a URL of fsspec. It is opened at the first access, and again after each failure.

    Every method raises:
        Away: the remote does not answer, or its bucket or folder is missing (a disk that is not mounted).
        BenchError: fsspec cannot open the URL, a package for it is missing, or access is denied.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = mask_secrets(url)  # may be shown
        self.whole = False  # whether it writes files as a whole; known once it is open
        self._fs: Any = None
        self._root = ""

    def sizes(self, where: str) -> dict[str, int]:
        """The sizes in bytes of the files of a folder, by name; subfolders are left out."""
        return {_name(info): int(info["size"] or 0) for info in self._list(where) if info["type"] == "file"}

    def folders(self, where: str) -> list[str]:
        """The names of the subfolders of a folder, sorted; hidden ones are left out."""
        found = (_name(info) for info in self._list(where) if info["type"] == "directory")
        return sorted(name for name in found if name and not name.startswith("."))

    def read(self, where: str) -> bytes | None:
        """The content of a file; None if there is no such file."""
        with self._open() as fs:
            try:
                return bytes(fs.cat_file(self._path(where)))
            except FileNotFoundError:
                return None

    def write(self, where: str, data: bytes) -> None:
        """Write or replace a file, atomically."""
        with self._open() as fs:
            target = self._path(where)
            if self.whole:
                fs.pipe_file(target, data)
                return
            parent, _, name = target.rpartition("/")
            if not fs.exists(parent):
                self._require(fs)
                fs.makedirs(parent, exist_ok=True)
            temporary = f"{parent}/.{name}.{platform.node()}.{os.getpid()}.{time.time_ns()}.tmp"
            try:
                fs.pipe_file(temporary, data)
                fs.mv(temporary, target)
            except BaseException:
                with contextlib.suppress(Exception):
                    fs.rm_file(temporary)
                raise

    def remove(self, where: str) -> None:
        """Remove a file if it exists."""
        with self._open() as fs, contextlib.suppress(FileNotFoundError):
            fs.rm_file(self._path(where))

    def open(self) -> Any:
        """The file system of fsspec, opened on first use."""
        if self._fs is None:
            from fsspec.core import url_to_fs

            try:
                fs, self._root = url_to_fs(self.url)
            except (ImportError, ValueError) as error:
                raise BenchError(
                    f"the URL of a remote must be one that fsspec can open, but {self.name} is not "
                    f"({mask_secrets(str(error))}); write one such as s3://bucket/prefix, and for s3 "
                    "`pip install 'prunebench[store]'`"
                ) from None
            protocols = {fs.protocol} if isinstance(fs.protocol, str) else {*fs.protocol}
            self.whole, self._fs = bool(WHOLE & protocols), fs
        return self._fs

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        """The file system; turns every error that it raises into one line."""
        try:
            yield self.open()
        except BenchError:
            raise
        except Exception as error:
            why = mask_secrets(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
            if isinstance(error, PermissionError) or any(word in type(error).__name__ for word in _REFUSALS):
                raise BenchError(
                    f"the remote must give access, but {self.name} denies it ({why}); check the account and its rights"
                ) from None
            if self._fs is not None:
                type(self._fs).clear_instance_cache()  # do not use a broken connection again
                self._fs = None
            raise Away(
                f"the remote must answer, but {self.name} does not ({why}); start it, or unset BENCH_REMOTE"
            ) from None

    def _path(self, where: str) -> str:
        return f"{self._root.rstrip('/')}/{where}"

    def _list(self, where: str) -> list[dict[str, Any]]:
        with self._open() as fs:
            fs.invalidate_cache()
            try:
                return list(fs.ls(self._path(where), detail=True))
            except FileNotFoundError:
                self._require(fs)
                return []

    def _require(self, fs: Any) -> None:
        """Raise an error for a missing bucket or folder, so that a disk that is not mounted does not count as empty."""
        base = self._root.partition("/")[0] if self.whole else self._root
        if base and not fs.exists(base):
            raise FileNotFoundError(f"there is no {base}: mount it, or create it")


def _name(info: Mapping[str, Any]) -> str:
    return str(info["name"]).rstrip("/").rpartition("/")[2]
