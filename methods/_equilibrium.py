"""The sparsity at which Drop Pruning settles where its probabilities are constant, in expectation; see `methods.drop`."""

from __future__ import annotations

from bench.errors import BenchError, one_of

ORDERS = ("simultaneous", "sequential")


def equilibrium_sparsity(
    *,
    rule: str,
    away: float,
    back: float,
    fraction: float | None = None,
    target: float | None = None,
    order: str = "simultaneous",
) -> float:
    """The sparsity (0 to 1) that prunings with constant probabilities do not change in expectation:
    ``ceiling * g / (g + back)``, where under rule "R1" the ceiling is 1 and ``g = away * fraction``, under "R2" the ceiling
    is the target and ``g = away``; with "sequential" order ``g * (1 - back)`` replaces g.

    Derived here: drop away changes a density d to ``e = d - g * (d - 1 + ceiling)``, and drop back to ``e + back * (1 - d)``
    (simultaneous) or ``e + back * (1 - e)`` (sequential). If both probabilities are 0 a dense model stays dense: 0.0.
    Raises `BenchError` for an unknown rule or order, a probability outside [0, 1], and a missing ``fraction`` or ``target``.
    """
    if rule not in ("R1", "R2"):
        raise one_of("rule", rule, ("R1", "R2"))
    if order not in ORDERS:
        raise one_of("order", order, ORDERS)
    name, share = ("fraction", fraction) if rule == "R1" else ("target", target)
    if share is None:
        raise BenchError(f"rule {rule} needs `{name}`, but got {name}=None; give a number between 0 and 1")
    for what, value in (("away", away), ("back", back), (name, share)):
        if not 0 <= value <= 1:
            raise BenchError(f"`0 <= {what} <= 1` must hold, but got {what}={value!r}; give a number between 0 and 1")
    loss, ceiling = (away * share, 1.0) if rule == "R1" else (away, share)
    if order == "sequential":
        loss *= 1 - back
    if loss + back == 0:
        return 0.0
    return ceiling * loss / (loss + back)
