"""Smaller siblings: the architecture of the same family whose number of weights is nearest to a wanted number.

Where the family takes a `width`, the width is searched in thousandths. Elsewhere the siblings are the architectures whose name
differs in its sizes only, such as regnety_032 and regnety_008, or swin_small and swin_tiny.
"""

from __future__ import annotations

import itertools
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from bench import layers
from bench.errors import BenchError
from bench.models import factory, sizes
from bench.models.architecture import parse, spell

STEPS = 1000  # widths below 1 that are searched
GUESSES = 3  # steps that are interpolated, enough where widths are rounded to whole channels; then intervals are halved

WORDS = {
    *("femto", "atto", "zepto", "pico", "nano", "mini", "xtiny", "tiny", "small", "medium", "base", "large", "huge"),
    *("xxs", "xs", "s", "m", "l", "xl", "xxl"),
}
NUMBER = re.compile(r"(?!patch|window)([a-z]*[a-uw-z])?\d+([a-z]?)")  # v1 and v2 are designs, not sizes


@dataclass(frozen=True)
class Sibling:
    """An architecture and its number of convolution and linear weights."""

    model: str
    weights: int


@cache
def count(model: str, classes: int, channels: int, image_size: int) -> int:
    """The number of convolution and linear weights, the classifier's included; 0 where the model cannot be built, or where a
    weight is empty."""
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of empty tensors
            built = sizes.on_meta(model, classes=classes, channels=channels, size=image_size)
    except Exception:  # a model that is too narrow raises whatever its layers raise
        return 0
    found = [weight.numel() for weight in layers.weights(built).values()]
    if not all(found):
        return 0
    return sum(found)


@cache
def smaller(model: str, wanted: int, *, classes: int, channels: int, image_size: int) -> Sibling:
    """The sibling with fewer weights than ``model`` whose number of weights is nearest to ``wanted``, by its ratio.

    It gets the same images as ``model``; ``image_size`` is their side in pixels.

    Raises:
        BenchError: no sibling is known.
    """
    counts = partial(count, classes=classes, channels=channels, image_size=image_size)
    dense = counts(model)
    for candidates in (_widths, _named):
        found = {text: counts(text) for text in candidates(model, wanted, counts)}
        found = {text: weights for text, weights in found.items() if 0 < weights < dense}
        for text in sorted(found, key=lambda text: (abs(math.log(found[text] / wanted)), text)):
            if sizes.refusal(text, channels, image_size) is None:
                return Sibling(text, found[text])
    raise BenchError(
        f"a smaller sibling of the model must be known, but {model} takes no width, and no smaller architecture is named "
        "like it; choose one of ours, an EfficientNet, MobileNet, ResNet, ConvNeXt or vision transformer of timm"
    )


def _widths(model: str, wanted: int, counts: Callable[[str], int]) -> list[str]:
    """The model at the largest width with at most ``wanted`` weights, and at the next width."""
    name, arguments = parse(model)

    def at(step: int) -> str:
        return spell(name, {**arguments, "width": round(arguments.get("width", 1.0) * step / STEPS, 6)})

    middle = STEPS // 2
    known = {0: 0, middle: counts(at(middle)), STEPS: counts(model)}
    if not known[middle]:
        return []
    last = _last(wanted, known, lambda step: counts(at(step)))
    return [at(step) for step in (last, last + 1) if 0 < step < STEPS]


def _last(wanted: int, known: dict[int, int], counts: Callable[[int], int]) -> int:
    """The largest step below `STEPS` with at most ``wanted`` weights, or 0; ``counts`` gives more weights to a larger step.

    Each count builds a model, so the first steps are interpolated: the square root of the number of weights is about
    proportional to the width. ``known`` are the counts of some steps, 0 and `STEPS` among them.
    """
    low = max(step for step, weights in known.items() if step < STEPS and weights <= wanted)
    high = min((step for step in known if step > low), default=STEPS)
    roots = {step: math.sqrt(weights) for step, weights in known.items()}
    for done in itertools.count():
        if high - low <= 1:
            break
        step = (low + high) // 2
        if done < GUESSES and roots[low] < roots[high]:
            part = (math.sqrt(wanted) - roots[low]) / (roots[high] - roots[low])
            step = min(max(low + math.floor(part * (high - low)), low + 1), high - 1)
        weights = counts(step)
        roots[step] = math.sqrt(weights)
        if weights <= wanted:
            low = step
        else:
            high = step
    return low


def _named(model: str, wanted: int, counts: Callable[[str], int]) -> list[str]:
    """The architectures whose name differs from the model's in its sizes only."""
    name, arguments = parse(model)
    own = name.partition(".")[0]
    return [spell(other, arguments) for other in factory.names() if other != own and alike(own, other)]


def alike(one: str, other: str) -> bool:
    """Whether two names are equal word by word, except for words that are sizes."""
    parts, others = one.split("_"), other.split("_")
    return len(parts) == len(others) and all(a == b or _sizes(a, b) for a, b in zip(parts, others, strict=True))


def _sizes(one: str, other: str) -> bool:
    if one in WORDS or other in WORDS:
        return one in WORDS and other in WORDS
    a, b = NUMBER.fullmatch(one), NUMBER.fullmatch(other)
    return a is not None and b is not None and a.groups() == b.groups()
