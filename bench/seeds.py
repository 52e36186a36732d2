"""Randomness with an address: every random number comes from (seed, purpose, where), never from a global generator."""

from __future__ import annotations

import hashlib

import torch


def address(*parts: object) -> int:
    """A 63-bit seed for an address such as ``(seed, "data", epoch)``; the same on every machine."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def generator(*parts: object) -> torch.Generator:
    """A generator on the CPU (the numbers then do not depend on the device) seeded by the address."""
    return torch.Generator().manual_seed(address(*parts))
