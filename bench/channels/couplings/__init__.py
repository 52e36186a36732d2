"""Couplings: which channels of a model must leave together, found by following one forward pass.

`axes` says what dimensions are made of, `flow` follows a model with the rules in `shapes` and `layers`, `sites` are the sizes
that a model's code spells out, and `members` turns all of it into groups. `alone` makes groups of what can only be masked.
"""

from bench.channels.couplings import layers, shapes  # noqa: F401 - their rules enter themselves
from bench.channels.couplings.alone import outputs
from bench.channels.couplings.members import Group, Member, Traced, trace

__all__ = ["Group", "Member", "Traced", "outputs", "trace"]
