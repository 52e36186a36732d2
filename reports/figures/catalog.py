"""The figures of a study: what each is called, what stands below it, its data and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd
from matplotlib.figure import Figure as Canvas

from reports.figures import accuracy, rounds, search, series, variants
from reports.figures.style import Looks
from reports.load.records import NOTE, Study

UNTUNED = "every configuration is declared, so there are no trials and nothing is tuned"


@dataclass(frozen=True)
class Figure:
    """A figure to be: ``draw(looks, wide)`` paints ``table`` for a page's or a column's width. It can be sent to another
    process.

    ``missing`` says why there is nothing to draw; ``marked``: a reconstruction is in it, which the caption explains.
    """

    name: str
    title: str
    caption: str
    table: pd.DataFrame
    draw: Callable[[Looks, bool], Canvas]
    missing: str = ""
    marked: bool = False


def makers(study: Study) -> list[Callable[[Study], Figure]]:
    """What makes the figures that every study has, in reading order; where there is nothing to draw, `Figure.missing`
    says why and the table is empty."""
    sizes = [lambda study, size=size: _accuracy(study, size) for size in accuracy.SIZES]
    grid = [_variants] if study.grid else []
    asked = study.declared.figures
    layers = [] if "allocation" in asked else [_layers]  # which shows what is left of them, of smaller models too
    phases = [] if "comparison" in asked else [_rounds]  # of methods of which hardly one has rounds to look at
    return [*grid, *sizes, _curves, *layers, *phases, _importances, _slices, _history]


def marked(figure: Figure, study: Study) -> Figure:
    """The figure, with a note in its caption where it shows a reconstruction."""
    table = figure.table
    told = (
        table["reconstruction"]
        if "reconstruction" in table
        else [study.reconstructed(m) for m in table.get("method", ())]
    )
    if not any(told):
        return figure
    return replace(figure, caption=f"{figure.caption} {NOTE}", marked=True)


def _variants(study: Study) -> Figure:
    table = variants.variants(study)
    caption = (
        f"Test top-1 of each variant, mean over {numbers(table['n'])} seeds with a 95 % t interval (none for one seed); the "
        "line and its band are the dense control. A hollow point is validation top-1: its runs have not opened the test split."
    )
    missing = "" if len(table) else "no variant has a result yet"
    return Figure("variants", "Accuracy of the variants", caption, table, partial(variants.draw, table), missing)


def _accuracy(study: Study, size: str) -> Figure:
    table = accuracy.accuracy_against(study, size)
    counts = table.loc[table["series"].isin(("final", "control")), "n"]
    finals = f"are means over {numbers(counts)} seeds on the test split" if len(counts) else "are not there yet"
    shown = "the variants" if study.grid else "finals"
    means = f"{shown} and the dense control (dashed, shaded) {finals}, with 95 % t intervals (none for one seed)."
    caption = f"{means[0].upper()}{means[1:]} {accuracy.DRAWN}"
    if (table["series"] == "trial").any():
        caption = (
            "Light points: every finished trial (validation, one seed), an arrow where it lies below the axis. Line: the "
            f"trials of a method that no other beats. Large points: {means} They are moved sideways a little where they are "
            "many."
        )
    what = accuracy.SIZES[size].removesuffix(" (%)")
    missing = "" if len(table) else "no run has ended with a result yet"
    name = f"accuracy-{size.replace('_', '-')}"
    return Figure(
        name,
        f"Accuracy against {what[0].lower() + what[1:] if what[:2] != 'MA' else what}",
        caption,
        table,
        partial(accuracy.draw, table, size),
        missing,
    )


def _curves(study: Study) -> Figure:
    table = series.validation_curves(study)
    chosen = "; #k is the trial that was chosen" if study.tuned else ""
    caption = (
        f"Validation top-1 at the end of each epoch, mean over {numbers(table['n'])} seeds; bands are 95 % t intervals, where "
        f"at most {series.BANDS} lines share a panel (the CSV has all){chosen}. A method that rewinds starts anew in each "
        f"round. {series.BEGUN}"
    )
    missing = "" if len(table) else "no run has written curves yet"
    return Figure("curves", "Validation curves", caption, table, partial(series.draw_curves, table), missing)


def _layers(study: Study) -> Figure:
    table = series.layer_sparsity(study)
    caption = (
        "Share of zero weights in each layer of the finished model, from input to output, mean over "
        f"{numbers(table['n'])} seeds. Hollow: layers that the method may not prune. {series.LEFT_OUT}"
    )
    missing = "" if len(table) else "no pruned model is finished yet"
    return Figure("layers", "Sparsity per layer", caption, table, partial(series.draw_layers, table), missing)


def _rounds(study: Study) -> Figure:
    table = rounds.pq_rounds(study)
    missing = "" if len(table) else "no shown run trains in more than one phase, so there are no rounds to compare"
    if len(table) and "sap-phases" in study.declared.figures:
        table, missing = table[:0], "the figure of the SAP phases shows the same rounds"
    caption = (
        f"PQ index (p = 0.5, q = 1) of the live weights at the end of each round. {rounds.RULE} {rounds.seen(table)}"
    )
    title = "PQ index over rounds, and the phases the SAP paper predicts"
    return Figure("pq-rounds", title, caption, table, partial(rounds.draw, table), missing)


def _importances(study: Study) -> Figure:
    table = search.importances(study)
    missing = "" if len(table) else "importances are computed when a study has ended with four results or more"
    missing = missing if study.tuned else UNTUNED
    caption = (
        "Optuna's estimate of the share of each tuned parameter in the variance of each objective over the trials."
        f"{search.left_out(table)}"
    )
    return Figure(
        "importances", "Parameter importances", caption, table, partial(search.draw_importances, table), missing
    )


def _slices(study: Study) -> Figure:
    table = search.slices(study)
    missing = "" if table["accuracy"].notna().any() else "no trial has ended with a result yet"
    missing = missing if study.tuned else UNTUNED
    hidden = int(table.loc[table["rank"] >= search.KNOBS, "parameter"].nunique())
    most = f"The {search.KNOBS} most important parameters of each cell; the CSV has all. " if hidden else ""
    caption = (
        f"Validation top-1 of each trial against the value of each tuned parameter, the later the darker. {most}The other "
        "parameters vary too, so that a trend may be theirs. An arrow: far below the axis."
        f"{search.left_out(table, search.KNOBS)}"
    )
    return Figure("slices", "Slices", caption, table, partial(search.draw_slices, table), missing)


def _history(study: Study) -> Figure:
    table, pareto = search.history(study), study.pareto
    failed = int(table["accuracy"].isna().sum())
    reached = (
        "the share of the accuracy–size rectangle that all trials so far dominate" if pareto else "the best so far"
    )
    caption = (
        f"Validation top-1 of each trial in the order of asking ({len(table)} ended, {failed} failed), and {reached}."
        f"{search.left_out(table, 2 if pareto else 1)}"
    )
    missing = "" if len(table) else "no trial has ended yet" if study.tuned else UNTUNED
    return Figure(
        "history", "Optimisation history", caption, table, partial(search.draw_history, table, pareto), missing
    )


def numbers(counts: Iterable[float]) -> str:
    """The numbers of seeds behind a figure: "n = 3", or "n = 1 to 3"."""
    found = sorted(set(counts))
    if not found:
        return "no"
    return f"n = {found[0]:.0f}" + (f" to {found[-1]:.0f}" if len(found) > 1 else "")
