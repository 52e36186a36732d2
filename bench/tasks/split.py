"""Stratified splits that depend on the task only: the same for every run and every user."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bench.seeds import generator


def stratified(labels: Tensor, shares: Sequence[float], task: str) -> list[Tensor]:
    """Cuts a set into one part per share and a last part with the rest, each class separately.

    Args:
        labels: int64 (N,), the class of each image.
        shares: fractions of each class, rounded to whole images; each part gets at least one image of a class, as long
            as one is left for the rest.
        task: the task's name; with the class it is the address of the random permutation.

    Returns:
        ``len(shares) + 1`` sorted int64 tensors of positions, disjoint, together all of ``range(N)``.
    """
    parts: list[list[Tensor]] = [[] for _ in (*shares, 1)]
    by_class = torch.split(labels.argsort(stable=True), labels.bincount().tolist())
    for label, members in enumerate(by_class):
        rest = members[torch.randperm(len(members), generator=generator("split", task, label))]
        for part, share in zip(parts, shares, strict=False):
            count = max(0, min(max(1, int(share * len(members) + 0.5)), len(rest) - 1))
            part.append(rest[:count])
            rest = rest[count:]
        parts[-1].append(rest)
    return [torch.cat(part).sort().values for part in parts]


def canonical(images: Tensor, labels: Tensor) -> Tensor:
    """Positions that sort images by class, then by a hash of their pixels.

    The splits and the training batches then do not depend on file names or on the order in an archive: an image folder and
    torchvision's archive of the same images give the same task.
    """
    hashes = [hashlib.blake2b(image, digest_size=8).digest() for image in images.numpy()]
    keys = np.frombuffer(b"".join(hashes), dtype="<u8")
    return torch.from_numpy(np.lexsort((keys, labels.numpy())))
