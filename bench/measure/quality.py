"""How well a classifier predicts: accuracy, loss and calibration, gathered on the device with one wait at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import BenchError
from bench.recipe import Recipe

BINS = 15


def accuracy(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], recipe: Recipe) -> dict[str, float]:
    """Score a classifier on images (N, C, H, W) and labels (N,), in eval mode and in the recipe's precision.

    Returns:
        "top1" and "top5" in per cent, where equal logits rank by class number and a row with a NaN is wrong (with five
        classes or fewer, "top5" is 100 for every row without one); "loss", the mean cross entropy without smoothing;
        "ece", the expected calibration error, 0 to 1, over 15 bins (Guo et al. 2017, arXiv:1706.04599, equation 3);
        "worst_class", the lowest top-1 of any class seen, in per cent; "n", images. NaN logits make loss and ece NaN.

    Raises:
        BenchError: there are no images.
    """
    device, total = device_of(model), None
    with evaluating(model), torch.inference_mode():
        for images, labels in batches:
            images = images.to(device, memory_format=recipe.memory_format, non_blocking=True)
            with recipe.autocast(device):
                logits = model(images)
            part = _tally(logits.float(), labels.to(device, non_blocking=True))
            total = part if total is None else total + part
    if total is None or not (found := total.tolist())[0]:
        raise BenchError("accuracy needs at least one image, but got none; give the task a larger split")
    return _scores(found)


def _tally(logits: Tensor, labels: Tensor) -> Tensor:
    """Sums over one batch as one float64 vector (integers stay exact): n, loss, top-1, top-5, then per bin confidence
    and hits, then per class images and hits."""
    classes = torch.arange(logits.shape[1], device=logits.device)
    own = logits.gather(1, labels[:, None])
    ahead = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    rank = ahead.sum(1).where(~logits.isnan().any(1), len(classes))
    hit = (rank == 0).double()
    confidence = logits.softmax(1).amax(1).double()
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64, device=logits.device)[1:-1]
    in_bin = torch.arange(BINS, device=logits.device)[:, None] == torch.bucketize(confidence, edges)  # (low, high]
    of_class = (classes[:, None] == labels).double()
    loss = F.cross_entropy(logits, labels, reduction="none").double().sum()
    scalars = torch.stack([of_class.sum(), loss, hit.sum(), (rank < min(5, len(classes))).double().sum()])
    bins = [in_bin.double() @ confidence, in_bin.double() @ hit]
    return torch.cat([scalars, *bins, of_class.sum(1), of_class @ hit])


def _scores(total: list[float]) -> dict[str, float]:
    n, loss, top1, top5 = total[:4]
    confidence, hits = total[4 : 4 + BINS], total[4 + BINS : 4 + 2 * BINS]
    per_class = total[4 + 2 * BINS :]
    seen, right = per_class[: len(per_class) // 2], per_class[len(per_class) // 2 :]
    return {
        "top1": 100 * top1 / n,
        "top5": 100 * top5 / n,
        "loss": loss / n,
        "ece": sum(abs(c - h) for c, h in zip(confidence, hits, strict=True)) / n,
        "worst_class": min(100 * r / s for r, s in zip(right, seen, strict=True) if s),
        "n": n,
    }


def device_of(model: nn.Module) -> torch.device:
    """Where a model's first parameter is; the CPU for a model without any."""
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside, and each module's former mode afterwards.

    Modes change through `train()` only, because some timm models drop caches there.
    """
    former = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in former:  # parents come first, so that children can differ from them
            if module.training != mode:
                module.train(mode)
