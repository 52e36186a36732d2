"""Why a run fails, and whether it is tried again. The kinds are part of records (a run's failed attempts)."""

from __future__ import annotations

from dataclasses import replace

from bench.run import Run

OUT_OF_MEMORY = "out of memory"  # tried again with smaller micro-batches
CRASHED, HUNG = "crashed", "hung"  # tried again as it is
DIVERGED, INEFFECTIVE, REFUSED, DISK_FULL = "diverged", "missed its target", "refused", "disk full"
ELSEWHERE = "held by another"  # no failure: another process computes this run now

CRASH_RETRIES = 2
MAX_MICRO_BATCHES = 16


def retry(run: Run, kind: str, attempts: int) -> Run | None:
    """The run to try after its ``attempts``-th failure, or None if it must not be tried again.

    After running out of memory it has twice as many micro-batches, which is another run with another id.
    """
    if kind == OUT_OF_MEMORY:
        parts = 2 * run.recipe.micro_batches
        if parts <= min(MAX_MICRO_BATCHES, run.recipe.batch):
            return replace(run, recipe=replace(run.recipe, micro_batches=parts))
    if kind in (CRASHED, HUNG) and attempts <= CRASH_RETRIES:
        return run
    return None


def describe_exit(exitcode: int | None) -> str:
    """How a process ended that did not say so itself."""
    if exitcode is None or exitcode >= 0:
        return f"the process ended with exit code {exitcode} and sent no result"
    hint = " (often the system, when memory runs out)" if exitcode == -9 else ""
    return f"the process was ended by signal {-exitcode}{hint}"
