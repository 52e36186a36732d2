"""The dependency graph of a model's channels, found by tracing one forward pass.

`axes` describes dimensions, `flow` traces a model by the rules in `shapes` and `layers`, `sites` finds the sizes that a model's
code states explicitly, and `members` makes channel groups of them. `outputs` makes groups that can only be masked.
"""

from bench.channels.couplings import layers, shapes  # noqa: F401 - an import registers their rules
from bench.channels.couplings.members import Group, Member, Traced, trace
from bench.channels.couplings.outputs import outputs

__all__ = ["Group", "Member", "Traced", "outputs", "trace"]
