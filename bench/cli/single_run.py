"""Computing one run in a process of its own, and printing its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.markup import escape
from rich.table import Table

from bench.cli import preparing
from bench.cli.options import Machine
from bench.cli.terminal import console
from bench.errors import BenchError
from bench.records.home import Home
from bench.records.run_record import Metrics, RunRecord
from bench.records.watcher import LOOSE
from bench.run import new_run
from bench.scheduler.pool import Pool
from bench.scheduler.progress import Display


def compute(method: str, settings: Sequence[str], machine: Machine, *, track: bool) -> None:
    """Compute one run of a method and print its record.

    Raises:
        BenchError: the run is refused, or failed.
    """
    home, run = Home(), new_run(method, settings)
    preparing.refuse_unworkable(run, home)
    run = replace(run, data=preparing.images_of(run.task, home))
    digest = preparing.decode_once(run, home)
    console.print(f"run [bold]{run.id}[/]  {escape(_shown(run.identity()))}", soft_wrap=True)
    name = f"{method}/{run.model}"
    with preparing.mirror(home, LOOSE, track=track), Display(console, total=1, failures=False) as display:
        pool = Pool(
            home, 1, machine.gpu_ids, machine.hang_after, machine.checkpoint_every, watch=display, digest=digest
        )
        outcome = pool.run([(name, run)], keep_weights=True)[name]
    if outcome.state != "finished":
        raise BenchError(outcome.reason)
    record = home.records.record(outcome.run.id)
    assert record is not None
    if outcome.cached:
        console.print("computed before; nothing was run again")
    _print_record(record)
    console.print(f"record: {home.records.run(outcome.run.id) / 'record.json'}", soft_wrap=True)


def _shown(identity: dict[str, Any], between: str = " ") -> str:
    """What a run's id is computed from, as key=value texts."""
    parts = []
    for key, value in identity.items():
        if key == "class":
            continue
        if not isinstance(value, dict):
            parts.append(f"{key}={value}")
        elif inner := _shown(value, ", "):
            parts.append(f"{key}({inner})")
    return between.join(parts)


def _print_record(record: RunRecord) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, text in (*_identity_rows(record), *_metric_rows(record)):
        table.add_row(name, text)
    console.print(table)


def _identity_rows(record: RunRecord) -> list[tuple[str, str]]:
    rows = []
    if record.label:
        rows.append(("result of", escape(record.label)))
    rows += [("warning", escape(text)) for text in record.warnings]
    if record.architecture != record.run.model:
        rows.append(("model built", escape(record.architecture)))
    return rows


def _sparsity(metrics: Metrics, weights: float, *, smaller: bool) -> str:
    """The shares of zeros; a model that lost whole channels is compared with the one before, as it may hold no zero at all."""
    zeros = f"{metrics.sparsity_prunable:.4f} of the prunable, {metrics.sparsity_all:.4f} of all"
    if not smaller:
        return zeros
    removed = 1 - metrics.weights_nonzero / weights
    return f"{removed:.4f} of the weights of the model before; of the smaller model {zeros}"


def _metric_rows(record: RunRecord) -> list[tuple[str, str]]:
    metrics, cost = record.metrics, record.cost
    rows = [("validation top-1", f"{metrics.val_top1:.2f} %  (best epoch {metrics.val_best_top1:.2f} %)")]
    if metrics.measured("test_top1"):
        rows.append(("test top-1", f"{metrics.test_top1:.2f} %"))
    weights, parameters = metrics.weights_reference, metrics.params_reference
    if not metrics.measured("weights_reference", "params_reference"):  # an older record
        weights, parameters = metrics.weights_all, metrics.params_all
    rows += [
        ("sparsity", _sparsity(metrics, weights, smaller=metrics.params_all < parameters)),
        ("non-zero weights", f"{metrics.weights_nonzero:,.0f} of {weights:,.0f}"),
    ]
    if metrics.params_all < parameters:
        rows.append(("parameters", f"{metrics.params_all:,.0f} of {parameters:,.0f}: the model is smaller"))
    pace = f"{cost.images_per_second or 0:,.0f} images/s, {cost.steps:,} steps"
    left, speedup = 100 * metrics.macs_fraction, metrics.speedup_theoretical
    return [
        *rows,
        ("MACs left", f"{left:.2f} %  (theoretical speed-up {speedup:.2f})"),
        ("training", f"{cost.train_seconds:.1f} s, {pace}"),
    ]
