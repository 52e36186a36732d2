"""Errors that a user can mend, in one pattern: the rule, what was got, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A mistake or a condition outside the suite, told in one line; the command line prints it and exits non-zero."""


class MissingData(BenchError):
    """A data set, checkpoint or record that should be on disk is not there."""


class Corrupt(BenchError):
    """A file is there, but its content is not what was written."""


class Held(BenchError):
    """Another process computes this run now; it is not this one's turn."""


class Diverged(BenchError):
    """The loss stopped being a finite number."""


class Ineffective(BenchError):
    """A method matched nothing, or missed the target that it was asked for: never report it as pruned."""


MOST_NAMES = 40  # that an error lists


def one_of(what: str, got: str, known: Iterable[str], *, see: str = "") -> BenchError:
    """The error for an unknown name: it tells the nearest valid one, and lists all of them while they fit on a line.

    ``see`` is the command that lists them, told where they do not fit.
    """
    names = sorted(known)
    near = difflib.get_close_matches(got, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    if len(names) <= MOST_NAMES:
        return BenchError(f"no {what} {got!r}; {hint}there are: {', '.join(names)}")
    where = f", see {see}" if see else ""
    return BenchError(f"no {what} {got!r}; {hint}there are {len(names)}{where}")
