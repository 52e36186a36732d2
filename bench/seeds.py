"""Random generators seeded by an address, such as (seed, purpose, step); the global generators are never used."""

from __future__ import annotations

import hashlib

import torch


def address(*parts: object) -> int:
    """A 63-bit seed computed from an address such as ``(seed, "data", epoch)``; the same on every machine."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def generator(*parts: object) -> torch.Generator:
    """A generator seeded by the address; on the CPU, so that its numbers do not depend on the device."""
    return torch.Generator().manual_seed(address(*parts))
