"""Errors that a user can correct, in one pattern: the rule, what was got, the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """An error of the user or of the environment, in one line; the command line prints it and exits with a non-zero status."""


class MissingData(BenchError):
    """A data set, checkpoint or record is not on disk."""


class Corrupt(BenchError):
    """The content of a file is not what was written."""


class Held(BenchError):
    """Another process computes this run now."""


class Diverged(BenchError):
    """The loss is no longer a finite number."""


class Ineffective(BenchError):
    """A method found nothing to prune, or missed its target: its model must not be reported as pruned."""


MOST_NAMES = 40  # that an error lists


def one_of(what: str, got: str, known: Iterable[str], *, see: str = "") -> BenchError:
    """The error for an unknown name, with the nearest valid ones.

    Args:
        what: the kind of thing that is named, such as "model".
        got: the unknown name.
        known: the valid names; all are listed where they are at most `MOST_NAMES`.
        see: the command that lists them, for more names than that.
    """
    names = sorted(known)
    listed = len(names) <= MOST_NAMES
    near = difflib.get_close_matches(got, names, n=1 if listed else 3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    if listed:
        return BenchError(f"no {what} {got!r}; {hint}there are: {', '.join(names)}")
    where = f", listed by {see}" if see else ""
    return BenchError(f"no {what} {got!r}; {hint}there are {len(names)}{where}")
