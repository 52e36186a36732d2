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


def accuracy(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], recipe: Recipe, dense: nn.Module | None = None
) -> dict[str, float]:
    """Score a classifier on images (N, C, H, W) and labels (N,), in eval mode and in the recipe's precision.

    Returns:
        "top1" and "top5" in per cent, where equal logits rank by class number and a row with a NaN is wrong (with five
        classes or fewer, "top5" is 100 for every row without one); "loss", the mean cross entropy (negative log likelihood)
        without smoothing; "ece", the expected calibration error, 0 to 1: confidences, the largest softmax of each row, are
        put into 15 bins of equal width, each closed above, and |accuracy - mean confidence| is averaged over them, weighted
        by images (Guo et al. 2017, arXiv:1706.04599, equation 3); "worst_class", the lowest top-1 of any class seen, in per
        cent, and "worst_class_index", the first class that has it; "n", images. NaN logits make loss and ece NaN.

        With the ``dense`` model that it came from, also: "agreement", the share of images in per cent for which both
        predict the same class (of rows with a NaN none does), and "class_drop", the most top-1 that any one class has lost
        against it, in points (negative where each has gained).

    Raises:
        BenchError: there are no images.
    """
    device, total = device_of(model), None
    models = [model] if dense is None else [model, dense]
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
            total = part if total is None else total + part
    if total is None or not (found := total.tolist())[0]:
        raise BenchError("accuracy needs at least one image, but got none; give the task a larger split")
    return _scores(found, compared=dense is not None)


def _tally(logits: Tensor, labels: Tensor) -> Tensor:
    """Sums over one batch as one float64 vector (integers stay exact): n, loss, top-1, top-5, then per bin confidence
    and hits, then per class images and hits."""
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
    """How many classes are ahead of the labels (N,): of equal logits the first is; all classes where a row has a NaN."""
    classes = torch.arange(logits.shape[1], device=logits.device)
    own = logits.gather(1, labels[:, None])
    ahead = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    return ahead.sum(1).where(~logits.isnan().any(1), len(classes))


def _compare(logits: Tensor, dense: Tensor, labels: Tensor) -> Tensor:
    """Sums over one batch, float64: images for which both predict the same, then per class hits of the dense model."""
    same = _rank(logits, dense.argmax(1)) == 0
    of_class = (torch.arange(dense.shape[1], device=dense.device)[:, None] == labels).double()
    hit = (_rank(dense, labels) == 0).double()
    return torch.cat([(same & ~dense.isnan().any(1)).double().sum()[None], of_class @ hit])


def _scores(total: list[float], *, compared: bool) -> dict[str, float]:
    n, loss, top1, top5 = total[:4]
    confidence, hits = total[4 : 4 + BINS], total[4 + BINS : 4 + 2 * BINS]
    rest = total[4 + 2 * BINS :]
    classes = (len(rest) - 1) // 3 if compared else len(rest) // 2
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
