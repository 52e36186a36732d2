"""What the statistics promise, simulated: errors where nothing differs, coverage of intervals, power with 5 and 10 seeds.

In per cent, before and after this module was written (before: paired t tests over all pairs for bold and letters, Friedman
over cells, n counting prunings, t intervals over pooled runs, bootstrap intervals of shares):

                                                                     before   after
    12 equal methods, any called better or worse, n = 5, 10              -    4.0   3.0
    12 methods a margin apart, any called equivalent, n = 5, 10          -    4.7   2.7
    1 point apart and told apart, n = 5, 10                       38   100   97.7   100
    equal and called equivalent, n = 5, 10                               -     33    99
    13 equal methods, a given one not bold, n = 5, 10            0.0   1.7    2.7   2.3
    1.5 points below the best and bold, n = 3                           95            0
    1.5 points below the best and bold, n = 5, 10               17.5   0.0    0.2   0.0
    5 equal methods, letters set any apart, n = 5, 10            2.7   4.7    6.0   6.0
    a true null of ranks rejected, 1 model x 5 targets                  97            0
    a true null of ranks rejected, 5 models x 1, 6 x 3           2.7    45    0.0   4.0
    interval of two fixed pairs holds, n = 5, 10                  96    97     95    97
    interval over 5 and 8 pairs holds                             58    60     95    96
    interval of 3 dense models x 4 prunings holds                       60           94
    interval near 98.5 % holds, n = 5, 10                         90    91     88    91
    P(improvement) of 0.1 is in its interval, n = 5, 10           69    86     94    98
    P(improvement) of 0.5 is in its interval, n = 5, 10           94    94     94    94
    share of 0.1 is in its interval, n = 10                             66           94

The intervals near 98.5 % left 0 to 100 % in 9 % of cases at n = 5; none does now.
"""

from __future__ import annotations

import pytest

from tests.reports.statistics import simulations

FAST = 60
SLOW = 1000


def test_few_draws_keep_their_promises() -> None:
    assert simulations.false_verdict(FAST, 5) <= 0.12
    assert simulations.power(FAST // 3, 10, -1.0, "worse") > 0.9
    assert simulations.bold_far_below(FAST // 3, 5) < 0.05
    assert simulations.coverage_of_prunings(4 * FAST) >= 0.9
    assert simulations.coverage_of_fixed_cells(4 * FAST, 5) >= 0.9
    assert simulations.coverage_of_improvement(4 * FAST, 5, 0.1) >= 0.88


def test_targets_of_one_model_reject_nothing() -> None:
    """Friedman over one model at five targets rejected a true null in 94 % of cases."""
    assert simulations.friedman_budgets(3, 1, 5) == 0.0


ERRORS = ("any called", "not bold", "letters set", "Friedman below")
HOLD = ("holds", "is in its interval")
POINTS = ("points called worse", "points called better")


@pytest.mark.slow
def test_errors_coverage_and_power(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors are at most 5 % and coverage is at least 95 %, but for the noise of a thousand draws (2 %); accuracies near 100 %
    are skewed, and their intervals hold about 90 %. A point is found with five seeds."""
    rows = simulations.table(SLOW)
    with capsys.disabled():
        print(f"\n{simulations.text(rows)}")
    for what, value in rows:
        if any(part in what for part in ERRORS):
            assert value <= 0.08, what  # the test of Games and Howell is a little liberal with few seeds
        elif "near 98.5" in what:
            assert value >= 0.85, what
        elif any(part in what for part in HOLD):
            assert value >= 0.92, what
        elif any(part in what for part in POINTS):
            assert value >= 0.9, what
        elif "and bold" in what:
            assert value <= 0.02, what
        elif "equivalent, n = 10" in what:
            assert value >= 0.9, what
