"""Differences of two independent samples: Welch's t, and the test of Games and Howell."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

EQUAL = 1e-9
"""Standard errors below it count as none: equal values differ by rounding errors."""


@dataclass(frozen=True)
class Welch:
    """The difference of two means (first minus second), its standard error, and its degrees of freedom (Welch 1947).

    Without spread in both samples the error is 0, and a difference is certain: p is 0 or 1.
    """

    difference: float
    error: float
    freedom: float

    @classmethod
    def of(cls, ours: Iterable[float], theirs: Iterable[float]) -> Welch:
        """From two samples of at least two values each."""
        parts = [np.asarray(list(values), dtype=float) for values in (ours, theirs)]
        moments = [(float(p.mean()), float(p.std(ddof=1)), len(p)) for p in parts]
        return cls.from_moments(*moments)

    @classmethod
    def from_moments(cls, ours: tuple[float, float, int], theirs: tuple[float, float, int]) -> Welch:
        """From the mean, the standard deviation (ddof 1) and the size of each sample."""
        shares = [(std**2 / n, n - 1) for _, std, n in (ours, theirs)]
        total = math.fsum(share for share, _ in shares)
        difference = ours[0] - theirs[0]
        if math.sqrt(total) <= EQUAL * max(1.0, abs(difference)):
            return cls(difference, 0.0, math.inf)
        return cls(difference, math.sqrt(total), total**2 / math.fsum(s**2 / free for s, free in shares))

    @property
    def t(self) -> float:
        """The difference in standard errors; infinite, or 0, without spread."""
        if self.error:
            return self.difference / self.error
        if abs(self.difference) <= EQUAL:
            return 0.0
        return math.copysign(math.inf, self.difference)

    @property
    def two_sided(self) -> float:
        """The p that the means are equal."""
        if not self.error:
            return float(self.t == 0)
        return float(2 * stats.t.sf(abs(self.t), self.freedom))

    @property
    def greater(self) -> float:
        """The one-sided p that the first mean is not above the second."""
        if not self.error:
            return float(self.t <= 0)
        return float(stats.t.sf(self.t, self.freedom))

    def half(self, level: float) -> float:
        """The half width of the interval of the difference."""
        if not self.error:
            return 0.0
        return float(stats.t.ppf((1 + level) / 2, self.freedom)) * self.error

    def games_howell(self, k: int) -> float:
        """The p that the means are equal, corrected for all pairs of k methods, from the studentized range (Games & Howell
        1976)."""
        if not self.error:
            return float(self.t == 0)
        return _range(abs(self.t) * math.sqrt(2), k, self.freedom)

    def apart(self, k: int, alpha: float) -> bool:
        """Whether `games_howell` is below alpha.

        The corrected p is at least the uncorrected one, and at most as many times larger as there are pairs: only between
        these bounds the studentized range is needed, which takes 20 ms.
        """
        p = self.two_sided
        if p >= alpha:
            return False
        if p * k * (k - 1) / 2 < alpha:
            return True
        return self.games_howell(k) < alpha


@cache
def _range(q: float, k: int, freedom: float) -> float:
    return float(stats.studentized_range.sf(q, k, freedom))
