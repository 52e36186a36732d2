"""Scores of a classifier: accuracy, loss and calibration, summed on the device with one wait at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import BenchError
from bench.recipe import Recipe

BINS = 15


def accuracy(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], recipe: Recipe, dense: nn.Module | None = None
) -> dict[str, float]:
    """Scores a classifier on images (N, C, H, W) and labels (N,), in eval mode and in the recipe's precision.

    Returns:
        "top1" and "top5" in per cent: equal logits rank by class number, a row with a NaN is wrong, and with five classes or
        fewer "top5" is 100 for every row without one. "loss": the mean cross entropy without label smoothing. "ece": the
        expected calibration error, 0 to 1; confidences (the largest softmax of each row) fall into 15 bins of equal width,
        closed above, and |accuracy - mean confidence| is averaged over the bins, weighted by images (Guo et al. 2017,
        arXiv:1706.04599, equation 3). "worst_class": the lowest top-1 of any class in the labels, in per cent, and
        "worst_class_index", the first class that has it. "n": the number of images. NaN logits make "loss" and "ece" NaN.

        With the ``dense`` model that the run started from, also "agreement", the share of images in per cent for which both
        models predict the same class (never in a row with a NaN), and "class_drop", the largest loss of top-1 of any class
        against the dense model, in points (negative where every class has gained).

    Raises:
        BenchError: there are no images.
    """
    device = device_of(model)
    total = torch.zeros(1, dtype=torch.float64, device=device)
    models = [each for each in (model, dense) if each is not None]
    with contextlib.ExitStack() as stack, torch.inference_mode():
        for each in models:
            stack.enter_context(evaluating(each))
        for images, labels in batches:
            images = images.to(device, memory_format=recipe.memory_format, non_blocking=True)
            with recipe.autocast(device):
                logits = [each(images) for each in models]
            labels = labels.to(device, non_blocking=True)
            part = _tally(logits[0].float(), labels)
            if dense is not None:
                part = torch.cat([part, _compare(logits[0], logits[1], labels)])
            total = total + part
    sums = total.tolist()
    if not sums[0]:
        raise BenchError("accuracy needs at least one image, but got none; give the task a larger split")
    return _scores(sums, compared=dense is not None)


def _tally(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns sums over one batch as one float64 vector (integers stay exact): n, loss, top-1 and top-5 hits, then
    confidence and hits of each bin, then images and hits of each class."""
    classes = torch.arange(logits.shape[1], device=logits.device)
    rank = _rank(logits, labels)
    hit = (rank == 0).double()
    confidence = logits.softmax(1).amax(1).double()
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64, device=logits.device)[1:-1]
    in_bin = torch.arange(BINS, device=logits.device)[:, None] == torch.bucketize(confidence, edges)  # (low, high]
    of_class = (classes[:, None] == labels).double()
    loss = F.cross_entropy(logits, labels, reduction="none").double().sum()
    scalars = torch.stack([of_class.sum(), loss, hit.sum(), (rank < min(5, len(classes))).double().sum()])
    bins = [in_bin.double() @ confidence, in_bin.double() @ hit]
    return torch.cat([scalars, *bins, of_class.sum(1), of_class @ hit])


def _rank(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns how many classes rank above the labels (N,): equal logits rank by class number; all, in a row with a NaN."""
    classes = torch.arange(logits.shape[1], device=logits.device)
    own = logits.gather(1, labels[:, None])
    ahead = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    return ahead.sum(1).where(~logits.isnan().any(1), len(classes))


def _compare(logits: Tensor, dense: Tensor, labels: Tensor) -> Tensor:
    """Returns sums over one batch, float64: images for which both predict the same, then the dense model's hits by class."""
    same = _rank(logits, dense.argmax(1)) == 0
    of_class = (torch.arange(dense.shape[1], device=dense.device)[:, None] == labels).double()
    hit = (_rank(dense, labels) == 0).double()
    return torch.cat([(same & ~dense.isnan().any(1)).double().sum()[None], of_class @ hit])


def _scores(total: list[float], *, compared: bool) -> dict[str, float]:
    """Returns the scores of `accuracy` from the sums of `_tally` and, where ``compared``, of `_compare`."""
    n, loss, top1, top5 = total[:4]
    confidence, hits = total[4 : 4 + BINS], total[4 + BINS : 4 + 2 * BINS]
    rest = total[4 + 2 * BINS :]
    classes = len(rest) // 2
    if compared:
        classes = (len(rest) - 1) // 3
    seen, right = rest[:classes], rest[classes : 2 * classes]
    worst, index = min((100 * r / s, c) for c, (r, s) in enumerate(zip(right, seen, strict=True)) if s)
    scores = {
        "top1": 100 * top1 / n,
        "top5": 100 * top5 / n,
        "loss": loss / n,
        "ece": sum(abs(c - h) for c, h in zip(confidence, hits, strict=True)) / n,
        "worst_class": worst,
        "worst_class_index": index,
        "n": n,
    }
    if compared:
        before = rest[2 * classes + 1 :]
        drop = max(100 * (b - r) / s for b, r, s in zip(before, right, seen, strict=True) if s)
        scores |= {"agreement": 100 * rest[2 * classes] / n, "class_drop": drop}
    return scores


def device_of(model: nn.Module) -> torch.device:
    """Returns the device of a model's first parameter; the CPU for a model without parameters."""
    for parameter in model.parameters():
        return parameter.device
    return torch.device("cpu")


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Puts a model into eval mode inside the context, and restores each module's former mode afterwards.

    Modes change through `train()` only, because some timm models drop caches there.
    """
    former = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in former:  # parents come first: a child's own mode is set after its parent's
            if module.training != mode:
                module.train(mode)
