"""Welch's test against SciPy, and the test of Games and Howell against published numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports.statistics.samples import Welch

ADELIE, CHINSTRAP, GENTOO = (
    (3700.662251655629, 458.56612591013476, 151),
    (3733.0882352941176, 384.3350813871914, 68),
    (5076.016260162602, 504.1162366570917, 123),
)
"""Mean, standard deviation and number of the body masses of the Palmer penguins."""

SPRAYS = {
    "A": [10, 7, 20, 14, 14, 12, 10, 23, 17, 20, 14, 13],
    "B": [11, 17, 21, 11, 16, 14, 17, 17, 19, 21, 7, 13],
    "C": [0, 1, 7, 2, 3, 1, 2, 1, 3, 0, 1, 4],
    "D": [3, 5, 12, 6, 4, 3, 5, 5, 5, 5, 2, 4],
    "E": [3, 5, 3, 5, 3, 6, 1, 1, 3, 2, 6, 4],
    "F": [11, 9, 15, 22, 15, 16, 13, 10, 26, 26, 24, 13],
}
"""Counts of insects after six sprays (Beall 1942; R's data set InsectSprays)."""


def test_welch_is_scipys() -> None:
    ours, theirs = [80.0, 82, 84, 86], [78.0, 80, 82]
    found, scipy = Welch.of(ours, theirs), stats.ttest_ind(ours, theirs, equal_var=False)
    assert (found.t, found.two_sided) == pytest.approx((scipy.statistic, scipy.pvalue))
    assert found.greater == pytest.approx(stats.ttest_ind(ours, theirs, equal_var=False, alternative="greater").pvalue)
    assert found.half(0.95) == pytest.approx(scipy.confidence_interval().high - found.difference)


def test_samples_without_spread_are_certain() -> None:
    above, equal = Welch.of([2.0, 2], [1.0, 1]), Welch.of([2.0, 2], [2.0, 2])
    assert (above.two_sided, above.greater, above.games_howell(4), above.apart(4, 0.05)) == (0, 0, 0, True)
    assert (equal.two_sided, equal.greater, equal.games_howell(4), equal.apart(4, 0.05)) == (1, 1, 1, False)


def test_games_howell_of_the_penguins_is_pingouins() -> None:
    """The example in the documentation of ``pingouin.pairwise_gameshowell``: T -0.543, 152.455 degrees of freedom, p 0.85; and
    -23.386, 249.643 and p 0 for Adelie and Gentoo."""
    lighter, heavier = Welch.from_moments(ADELIE, CHINSTRAP), Welch.from_moments(ADELIE, GENTOO)
    assert (round(lighter.t, 3), round(lighter.freedom, 3)) == (-0.543, 152.455)
    assert lighter.games_howell(3) == pytest.approx(0.85, abs=0.005)
    assert (round(heavier.t, 3), round(heavier.freedom, 3)) == (-23.386, 249.643)
    assert heavier.games_howell(3) < 1e-9


def test_games_howell_of_the_sprays() -> None:
    """T as the tests of the package hypothetical (aschleg/hypothetical) have them: A and B 0.4535, C and D 3.0782, D and E
    1.6122; the p by integrating the range over the deviation, without SciPy's distribution of the range."""
    for pair, t in (("AB", 0.45352438521873684), ("CD", 3.078215365445631), ("DE", 1.6122487000489365)):
        found = Welch.of(*(SPRAYS[name] for name in pair))
        assert abs(found.t) == pytest.approx(t)
        assert found.games_howell(6) == pytest.approx(_range(abs(found.t) * math.sqrt(2), 6, found.freedom), abs=1e-4)
        assert found.apart(6, 0.05) == (found.games_howell(6) < 0.05)


def _range(q: float, k: int, freedom: float) -> float:
    """The upper tail of the studentized range: 1 - E[k int phi(z) (Phi(z) - Phi(z - q s))^(k - 1) dz] over s^2 ~ chi^2 / df."""
    chances = (np.arange(2000) + 0.5) / 2000
    scale = np.sqrt(stats.chi2.ppf(chances, freedom) / freedom)[:, None]
    z = np.linspace(-8, 8, 1601)[None, :]
    inside = stats.norm.pdf(z) * (stats.norm.cdf(z) - stats.norm.cdf(z - q * scale)) ** (k - 1)
    return float(1 - (k * inside.sum(axis=1) * (z[0, 1] - z[0, 0])).mean())


def test_the_shortcut_gives_what_the_range_gives() -> None:
    """Many pairs close to the threshold: the bounds never decide otherwise than the corrected p."""
    source = np.random.default_rng(0)
    for shift in np.linspace(0, 6, 25):
        found = Welch.of(source.normal(0, 1, 5), source.normal(shift, 2, 6))
        assert found.apart(8, 0.05) == (found.games_howell(8) < 0.05)
        assert found.two_sided <= found.games_howell(8) + 1e-9
        assert found.games_howell(8) <= 28 * found.two_sided + 1e-9
