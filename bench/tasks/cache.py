"""Decoded images on disk: one safetensors file per split, with the source that it was made from and a checksum."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bench.errors import BenchError
from bench.records.files import write_bytes

FORMAT = 2  # increase it when files of older code must not be used any more
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Images uint8 (N, H, W, C) and labels int64 (N,)."""

    images: Tensor
    labels: Tensor

    def at(self, positions: Tensor) -> Split:
        """The images at the given positions, in that order."""
        return Split(self.images[positions], self.labels[positions])

    def to(self, device: torch.device) -> Split:
        """The split, on a device."""
        return Split(self.images.to(device), self.labels.to(device))

    def checksum(self) -> str:
        """SHA-256 of pixels and labels, in hex."""
        digest = hashlib.sha256(self.images.numpy().data)
        digest.update(self.labels.numpy().data)
        return digest.hexdigest()


class Store:
    """The splits of one set in a folder of the cache; they are decoded again where a file is missing, corrupt or outdated.

    Args:
        folder: the folder of the files.
        source: identifies the content that the images were decoded from; changes with it.
        make: decodes the three splits.
    """

    def __init__(self, folder: Path, source: str, make: Callable[[], Mapping[str, Split]]) -> None:
        self._folder, self._make = folder, make
        self._fresh: dict[str, Split] = {}  # just decoded: the first read does not need the disk
        self._key = f"{FORMAT} {source}"
        headers = [self._header(split) for split in SPLITS]
        if None in headers:
            self._rebuild()
            headers = [self._header(split) for split in SPLITS]
        found = [header for header in headers if header is not None]
        self.counts = {split: int(header["count"]) for split, header in zip(SPLITS, found, strict=True)}
        self.present = {split: int(header["classes"]) for split, header in zip(SPLITS, found, strict=True)}
        self.digest = hashlib.sha256("".join(header["checksum"] for header in found).encode()).hexdigest()

    def read(self, split: str) -> Split:
        """One split; its checksum is verified.

        Raises:
            BenchError: a file that was just written cannot be read.
        """
        found = self._fresh.pop(split, None) or self._read(split)
        if found is None:
            self._rebuild()
            found = self._read(split)
        if found is None:
            raise BenchError(f"{self._path(split)} does not read back as it was written; check that disk")
        return found

    def _path(self, split: str) -> Path:
        return self._folder / f"{split}.safetensors"

    def _rebuild(self) -> None:
        splits = self._make()
        for name, split in splits.items():
            metadata = {"key": self._key, "count": str(len(split.labels)), "checksum": split.checksum()}
            metadata["classes"] = str(len(set(split.labels.tolist())))
            data = save({"images": split.images.contiguous(), "labels": split.labels.contiguous()}, metadata)
            try:
                write_bytes(self._path(name), data)
            except OSError as error:
                reason, remedy = error.strerror or error, "free some space there"
                if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                    remedy = "make that folder writable, or name another with BENCH_HOME"
                raise BenchError(f"decoded images cannot be written to {self._folder} ({reason}); {remedy}") from None
        self._fresh = {name: split for name, split in splits.items() if name != "test"}

    def _header(self, split: str) -> dict[str, str] | None:
        """The metadata of a split's file, without its pixels."""
        try:
            with safe_open(self._path(split), "pt") as file:
                metadata: dict[str, str] = file.metadata() or {}
        except (OSError, SafetensorError):
            return None
        return metadata if metadata.get("key") == self._key else None

    def _read(self, split: str) -> Split | None:
        metadata = self._header(split)
        if metadata is None:
            return None
        with safe_open(self._path(split), "pt") as file:
            found = Split(file.get_tensor("images"), file.get_tensor("labels"))
        return found if found.checksum() == metadata["checksum"] else None
