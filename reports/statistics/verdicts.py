"""Each method against a baseline in words: better, worse, equivalent or unresolved.

Paired differences over dense models (method minus baseline), with a t interval; p of the paired t test, Holm's correction over
the compared methods; and equivalence by two one-sided t tests (Schuirmann 1987) within a margin in points, corrected in the
same way. A method is equivalent where its difference is shown to be within the margin, whatever its sign; else better or worse
where the difference is shown not to be 0; else unresolved. Below `LEAST` pairs everything is unresolved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy import stats

from reports.statistics.frame import LEAST, Floats, checked, controls, differences, forfeits
from reports.statistics.paired import ALPHA, detectable, holm, spread_of, t_test
from reports.statistics.summary import mean

BETTER, WORSE, EQUIVALENT, UNRESOLVED = "better", "worse", "equivalent", "unresolved"
MARGIN = 0.5
"""Points of accuracy within which two methods are equivalent."""


@dataclass(frozen=True)
class Judgement:
    """A method against a baseline: ``pairs`` of scores; the mean ``difference`` with its 95 % t interval, uncorrected; ``holm``
    and ``equivalence``, the corrected p that the difference is 0, and that it is outside the margin; ``detectable``, the
    smallest true difference that this test, with its correction, finds with a power of 80 %; and the ``verdict``.

    Differences are in points. NaN where there are too few pairs.
    """

    pairs: int
    difference: float
    difference_half: float
    holm: float
    equivalence: float
    detectable: float
    verdict: str


def judged(found: Mapping[str, Floats], *, margin: float = MARGIN, alpha: float = ALPHA) -> dict[str, Judgement]:
    """Judges several methods at once, from the paired differences of each to one baseline."""
    names = sorted(found)
    tests = dict(zip(names, holm([t_test(found[name]) for name in names]), strict=True))
    within = dict(zip(names, holm([equivalence(found[name], margin) for name in names]), strict=True))
    family = sum(len(found[name]) > 1 for name in names)
    return {name: _judgement(found[name], tests[name], within[name], alpha, family) for name in names}


def _judgement(values: Floats, p: float, within: float, alpha: float, family: int) -> Judgement:
    over = mean(values)
    smallest = math.nan
    if over.n > 1 and spread_of(values) > 0:
        smallest = detectable(over.std, over.n, alpha=alpha / family)
    said = _verdict(over.n, over.mean, p, within, alpha)
    return Judgement(over.n, over.mean, over.half, p, within, smallest, said)


def _verdict(pairs: int, difference: float, p: float, within: float, alpha: float) -> str:
    if pairs < LEAST:
        return UNRESOLVED
    if within < alpha:
        return EQUIVALENT
    if p < alpha:
        return BETTER if difference > 0 else WORSE
    return UNRESOLVED


def equivalence(values: Floats, margin: float = MARGIN) -> float:
    """Returns the p of the two one-sided t tests that the mean difference is -margin or less, or margin or more: the larger
    of the two; NaN with fewer than two pairs. Without spread it is 0 within the margin, else 1."""
    if len(values) < 2:
        return math.nan
    room = margin - abs(float(np.mean(values)))
    spread = spread_of(values)
    if spread == 0:
        return float(room <= 0)
    return float(stats.t.sf(room / (spread / math.sqrt(len(values))), len(values) - 1))


COLUMNS = ["cell", "method", "baseline", "unpaired", *Judgement.__dataclass_fields__]


def verdicts(
    frame: pd.DataFrame, baselines: Mapping[str, str], *, margin: float = MARGIN, alpha: float = ALPHA
) -> pd.DataFrame:
    """Judges every method against the baseline of its cell; returns one row per cell and method, without the baseline's own.

    Controls have a difference and no verdict, and are no part of Holm's family. A method that forfeits the cell (a run failed,
    or missed its budget) can be worse, but neither better nor equivalent; where the baseline does, nothing is resolved.

    Args:
        frame: see `reports.statistics`.
        baselines: the baseline of each cell; cells without one have no rows.
        margin: points of accuracy within which two methods are equivalent.
        alpha: the familywise error in one cell.
    """
    known, rows = checked(frame), []
    lost, kept_apart = forfeits(known), controls(known)
    for cell, own in known.groupby("cell", sort=True):
        baseline = baselines.get(str(cell), "")
        if baseline not in set(own["method"]):
            continue
        pairs = {str(m): differences(own, m, baseline) for m in sorted(set(own["method"]) - {baseline})}
        values = {method: found.to_numpy() for method, (found, _) in pairs.items()}
        compared = judged({m: v for m, v in values.items() if m not in kept_apart}, margin=margin, alpha=alpha)
        beside = {m: judged({m: v}, margin=margin, alpha=alpha)[m] for m, v in values.items() if m in kept_apart}
        for method, found in (compared | beside).items():
            row = asdict(found)
            if method in kept_apart:
                row |= {"holm": math.nan, "equivalence": math.nan, "detectable": math.nan, "verdict": ""}
            elif (str(cell), baseline) in lost or ((str(cell), method) in lost and found.verdict != WORSE):
                row["verdict"] = UNRESOLVED
            place = {"cell": str(cell), "method": method, "baseline": baseline, "unpaired": pairs[method][1]}
            rows.append({**place, **row})
    return pd.DataFrame(rows, columns=COLUMNS).sort_values(["cell", "method"], ignore_index=True)
