"""The figures of a study: what each is called, what stands below it, its data and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure as Canvas

from reports import accuracy, rounds, search, series
from reports.load import Study
from reports.style import Looks


@dataclass(frozen=True)
class Figure:
    """A figure to be: ``draw(looks, wide)`` paints ``table`` for a page's or a column's width."""

    name: str
    title: str
    caption: str
    table: pd.DataFrame
    draw: Callable[[Looks, bool], Canvas]
    missing: str = ""


def figures(study: Study) -> Iterator[Figure]:
    """The first set, in reading order. Where there is nothing to draw, ``missing`` says why and the table is empty."""
    yield from (_accuracy(study, size) for size in accuracy.SIZES)
    yield _curves(study)
    yield _layers(study)
    yield _rounds(study)
    yield _importances(study)
    yield _history(study)


def _accuracy(study: Study, size: str) -> Figure:
    table = accuracy.accuracy_against(study, size)
    counts = sorted(set(table.loc[table["series"].isin(("final", "control")), "n"]))
    finals = (
        f"finals and the dense control are means over {_numbers(counts)} seeds on the test split"
        if counts
        else "no finals yet"
    )
    caption = (
        "Light points: every finished trial (validation, one seed), an arrow where it lies below the axis. Line: the trials "
        f"of a method that no other beats. Large points: {finals}, with 95 % t intervals (none for one seed)."
    )
    what = accuracy.SIZES[size].removesuffix(" (%)")
    missing = "" if len(table) else "no run has ended with a result yet"
    name = f"accuracy-{size.replace('_', '-')}"
    return Figure(
        name,
        f"Accuracy against {what[0].lower() + what[1:] if what[:2] != 'MA' else what}",
        caption,
        table,
        lambda looks, wide: accuracy.draw(table, size, looks, wide),
        missing,
    )


def _curves(study: Study) -> Figure:
    table = series.validation_curves(study)
    caption = (
        f"Validation top-1 at the end of each epoch, mean over {_numbers(sorted(set(table['n'])))} seeds with a 95 % t "
        "interval; #k is the trial that was chosen. A method that rewinds starts anew in each round."
    )
    missing = "" if len(table) else "no run has written curves yet"
    return Figure("curves", "Validation curves", caption, table, lambda *a: series.draw_curves(table, *a), missing)


def _layers(study: Study) -> Figure:
    table = series.layer_sparsity(study)
    caption = (
        "Share of zero weights in each layer of the finished model, from input to output, mean over "
        f"{_numbers(sorted(set(table['n'])))} seeds. Hollow: layers that the method may not prune."
    )
    missing = "" if len(table) else "no pruned model is finished yet"
    return Figure("layers", "Sparsity per layer", caption, table, lambda *a: series.draw_layers(table, *a), missing)


def _rounds(study: Study) -> Figure:
    table = rounds.pq_rounds(study)
    missing = "" if len(table) else "no shown run trains in more than one phase, so there are no rounds to compare"
    caption = (
        f"PQ index (p = 0.5, q = 1) of the live weights at the end of each round. {rounds.RULE} {rounds.seen(table)}"
    )
    title = "PQ index over rounds, and the phases the SAP paper predicts"
    return Figure("pq-rounds", title, caption, table, lambda *a: rounds.draw(table, *a), missing)


def _importances(study: Study) -> Figure:
    table = search.importances(study)
    missing = "" if len(table) else "importances are computed when a study has ended with four results or more"
    caption = (
        "Optuna's estimate of the share of each tuned parameter in the variance of each objective over the trials."
    )
    return Figure(
        "importances", "Parameter importances", caption, table, lambda *a: search.draw_importances(table, *a), missing
    )


def _history(study: Study) -> Figure:
    table, pareto = search.history(study), study.pareto
    failed = int(table["accuracy"].isna().sum())
    reached = (
        "the share of the accuracy–size rectangle that all trials so far dominate" if pareto else "the best so far"
    )
    caption = (
        f"Validation top-1 of each trial in the order of asking ({len(table)} ended, {failed} failed), and {reached}."
    )
    missing = "" if len(table) else "no trial has ended yet"
    return Figure(
        "history", "Optimisation history", caption, table, lambda *a: search.draw_history(table, pareto, *a), missing
    )


def _numbers(counts: list[int]) -> str:
    """The numbers of seeds behind a figure: "3", or "1 to 3"."""
    if not counts:
        return "no"
    return f"n = {counts[0]:.0f}" + (f" to {counts[-1]:.0f}" if len(counts) > 1 else "")
