"""Simulations of comparisons: how often the statistics err where nothing differs, how often intervals hold the truth, and how
often true differences are found. ``python -m tests.reports.statistics.simulations`` prints the table of all of them.

Scores of a cell are 90 + the method's own mean + what the dense model of the seed adds to all methods (deviation 0.3) + noise
(deviation 0.2), so that paired differences have a deviation of 0.28 points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from scipy import stats

from reports.statistics.groups import best, lettered
from reports.statistics.overall import over_pairs
from reports.statistics.ranks import ranks
from reports.statistics.shares import newcombe, wilson
from reports.statistics.summary import accuracy, mean
from reports.statistics.verdicts import BETTER, EQUIVALENT, MARGIN, WORSE, judged

SHARED, NOISE = 0.3, 0.2
Scores = Mapping[str, np.ndarray]


def cell(source: np.random.Generator, means: Mapping[str, float], n: int, spread: float = SHARED) -> Scores:
    """The scores of n dense models by method; ``spread`` is the deviation that they share."""
    shared = source.normal(0, spread, n)
    return {name: 90 + centre + shared + source.normal(0, NOISE, n) for name, centre in means.items()}


def share(count: int, once: Callable[[np.random.Generator], float], *address: int) -> float:
    """The mean of what ``once`` gives, over ``count`` draws."""
    return float(np.mean([once(np.random.default_rng([*address, i])) for i in range(count)]))  # equal on every machine


def words(source: np.random.Generator, means: Mapping[str, float], n: int, margin: float = MARGIN) -> dict[str, str]:
    """The verdicts of a cell against its first method."""
    found = cell(source, means, n)
    base = next(iter(found))
    pairs = {name: values - found[base] for name, values in found.items() if name != base}
    return {name: own.verdict for name, own in judged(pairs, margin=margin).items()}


def names(k: int, centre: float = 0.0) -> dict[str, float]:
    """K methods with the same mean."""
    return {f"m{i:02}": centre for i in range(k)}


def false_verdict(count: int, n: int, k: int = 12) -> float:
    """How often any of k methods that equal the baseline is called better or worse, without a margin that hides it."""
    means = {"base": 0.0, **names(k)}
    return share(count, lambda source: bool({BETTER, WORSE} & set(words(source, means, n, margin=0.0).values())), 1, n)


def false_equivalence(count: int, n: int, k: int = 12) -> float:
    """How often any of k methods that differ from the baseline by the margin is called equivalent."""
    means = {"base": 0.0, **names(k, -MARGIN)}
    return share(count, lambda source: EQUIVALENT in words(source, means, n).values(), 2, n)


def power(count: int, n: int, difference: float, word: str, k: int = 12) -> float:
    """The share of k methods, which all differ from the baseline by as much, that have this verdict."""
    means = {"base": 0.0, **names(k, difference)}
    return share(count, lambda source: np.mean([own == word for own in words(source, means, n).values()]), 3, n)


def lost_best(count: int, n: int, k: int = 13) -> float:
    """How often a given one of k equal methods is not bold, where dense models share nothing, which is the worst case."""
    return share(count, lambda source: "m00" not in best(cell(source, names(k), n, 0.0)), 4, n)


def bold_far_below(count: int, n: int, k: int = 12) -> float:
    """The share of k methods that are 1.5 points below the best and bold nevertheless."""
    means = {"base": 0.0, **names(k, -1.5)}
    return share(count, lambda source: len(best(cell(source, means, n)) - {"base"}) / k, 5, n)


def false_letters(count: int, n: int, k: int = 5) -> float:
    """How often letters set any two of k equal methods apart, where dense models share nothing, which is the worst case."""
    return share(count, lambda source: len(set(lettered(cell(source, names(k), n, 0.0)).values())) > 1, 6, n)


def friedman_budgets(count: int, models: int, targets: int, k: int = 4) -> float:
    """How often the ranks of k methods are called different, where in each model the methods differ by chance, the same at all
    its targets."""

    def once(source: np.random.Generator) -> float:
        rows = []
        for model in range(models):
            own = source.normal(0, 1, k)
            for target in range(targets):
                for i in range(k):
                    score = 90 + own[i] + source.normal(0, 0.3)
                    where = {"cell": f"{model}@{target}", "pair": str(model), "method": f"m{i}", "seed": 0}
                    rows.append({**where, "score": score})
        return float(ranks(pd.DataFrame(rows)).friedman < 0.05)

    return share(count, once, 7, models, targets)


def coverage_of_fixed_cells(count: int, n: int, pairs: int = 2) -> float:
    """How often the interval over a few pairs holds the mean over these pairs."""

    def once(source: np.random.Generator) -> float:
        found = over_pairs({str(i): i + source.normal(0, 0.5 + i, n) for i in range(pairs)})
        return float(found.low <= (pairs - 1) / 2 <= found.high)

    return share(count, once, 8, n)


def coverage_over_pairs(count: int, pairs: int, n: int = 5) -> float:
    """How often the interval over many pairs holds the mean over all such pairs, which differ by a point."""

    def once(source: np.random.Generator) -> float:
        found = over_pairs({str(i): source.normal(0, 1) + source.normal(0, 0.3, n) for i in range(pairs)})
        return float(found.low <= 0 <= found.high)

    return share(count, once, 9, pairs)


def coverage_of_prunings(count: int, dense: int = 3, prunings: int = 4) -> float:
    """How often the interval holds the mean, where prunings of one dense model hardly differ, and are averaged."""

    def once(source: np.random.Generator) -> float:
        scores = 90 + source.normal(0, 0.3, (dense, 1)) + source.normal(0, 0.1, (dense, prunings))
        found = mean(scores.mean(axis=1))
        return float(found.low <= 90 <= found.high)

    return share(count, once, 10, dense)


def coverage_near_100(count: int, n: int) -> float:
    """How often the interval holds the mean of accuracies whose logits are normal around 98.5 %."""
    truth = float(np.mean(100 / (1 + np.exp(-np.random.default_rng(0).normal(4.2, 0.6, 200_000)))))

    def once(source: np.random.Generator) -> float:
        found = accuracy(100 / (1 + np.exp(-source.normal(4.2, 0.6, n))))
        return float(found.low <= truth <= found.high)

    return share(count, once, 11, n)


def coverage_of_improvement(count: int, n: int, truth: float) -> float:
    """How often the interval holds the probability that a run is better than another."""
    shift = float(stats.norm.ppf(truth)) * np.sqrt(2)

    def once(source: np.random.Generator) -> float:
        ours, theirs = source.normal(shift, 1, n), source.normal(0, 1, n)
        found = newcombe(float((ours[:, None] > theirs).mean()), [(n, n)])
        return float(found.low <= truth <= found.high)

    return share(count, once, 12, n, round(100 * truth))


def coverage_of_a_share(count: int, n: int, truth: float) -> float:
    """How often the interval holds the share of runs above a threshold."""

    def once(source: np.random.Generator) -> float:
        found = wilson(float(source.binomial(n, truth)) / n, n)
        return float(found.low <= truth <= found.high)

    return share(count, once, 13, n, round(100 * truth))


def table(count: int) -> list[tuple[str, float]]:
    """All simulations: what is measured, and the share of ``count`` draws."""
    rows = [(f"12 equal methods, any called better or worse, n = {n}", false_verdict(count, n)) for n in (5, 10)]
    rows += [
        (f"12 methods a margin apart, any called equivalent, n = {n}", false_equivalence(count, n)) for n in (5, 10)
    ]
    for difference, word in ((-1.0, WORSE), (1.0, BETTER), (0.0, EQUIVALENT)):
        rows += [(f"{difference:+g} points called {word}, n = {n}", power(count, n, difference, word)) for n in (5, 10)]
    rows += [(f"13 equal methods, a given one not bold, n = {n}", lost_best(count, n)) for n in (5, 10)]
    rows += [(f"1.5 points below the best and bold, n = {n}", bold_far_below(count, n)) for n in (5, 10)]
    rows += [(f"5 equal methods, letters set any apart, n = {n}", false_letters(count, n)) for n in (5, 10)]
    rows += [
        (f"{models} models x {targets} targets, Friedman below 0.05", friedman_budgets(count // 4, models, targets))
        for models, targets in ((1, 5), (5, 1), (6, 3))
    ]
    rows += [(f"interval of two fixed pairs holds, n = {n}", coverage_of_fixed_cells(count, n)) for n in (5, 10)]
    rows += [(f"interval over {pairs} pairs holds", coverage_over_pairs(count, pairs)) for pairs in (5, 8)]
    rows += [("interval of 3 dense models x 4 prunings holds", coverage_of_prunings(count))]
    rows += [(f"interval near 98.5 % holds, n = {n}", coverage_near_100(count, n)) for n in (5, 10)]
    rows += [
        (f"P(improvement) of {truth:g} is in its interval, n = {n}", coverage_of_improvement(count, n, truth))
        for truth in (0.1, 0.5)
        for n in (5, 10)
    ]
    rows += [
        (f"share of {truth:g} is in its interval, n = 10", coverage_of_a_share(count, 10, truth))
        for truth in (0.1, 0.5)
    ]
    return rows


def text(rows: list[tuple[str, float]]) -> str:
    """The table as Markdown, in per cent."""
    return "\n".join(
        ["| simulation | % |", "| --- | ---: |", *(f"| {what} | {100 * value:.1f} |" for what, value in rows)]
    )


if __name__ == "__main__":
    print(text(table(2000)))
