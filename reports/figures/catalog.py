"""The figures that every study has: name, title, caption, data and drawing function of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd
from matplotlib.figure import Figure as Canvas

from reports.figures import accuracy, rounds, search, series, variants
from reports.figures.style import Looks
from reports.load.records import NOTE, Study

UNTUNED = "all configurations are declared, so there are no trials and nothing is tuned"
NO_ROUNDS = "no shown run trains in more than one phase, so there are no rounds to compare"


@dataclass(frozen=True)
class Figure:
    """A figure before it is drawn: ``draw(looks, wide)`` draws ``table`` at page or column width. It can be pickled.

    ``missing`` is the reason why there is nothing to draw, or ""; ``marked``: the figure shows a reconstruction, and the
    caption explains the mark.
    """

    name: str
    title: str
    caption: str
    table: pd.DataFrame
    draw: Callable[[Looks, bool], Canvas]
    missing: str = ""
    marked: bool = False


def makers(study: Study) -> list[Callable[[Study], Figure]]:
    """The functions that make the figures of every study, in reading order. Where there is nothing to draw, the figure's table
    is empty and `Figure.missing` gives the reason."""
    sizes = [lambda study, size=size: _accuracy(study, size) for size in accuracy.SIZES]
    asked, found = study.declared.figures, [*sizes, _curves]
    if study.grid:
        found.insert(0, _variants)
    if "allocation" not in asked:  # that figure shows the layers too, also those of smaller models
        found.append(_layers)
    if "comparison" not in asked:  # few of the compared methods have rounds
        found.append(_rounds)
    return [*found, _importances, _slices, _history]


def if_empty(rows: Sized, reason: str) -> str:
    """The reason why there is nothing to draw, where there are no rows; else ""."""
    if len(rows):
        return ""
    return reason


def marked(figure: Figure, study: Study) -> Figure:
    """The figure, with a note in its caption where it shows a reconstruction."""
    if not any(_reconstructions(figure.table, study)):
        return figure
    return replace(figure, caption=f"{figure.caption} {NOTE}", marked=True)


def _reconstructions(table: pd.DataFrame, study: Study) -> Iterable[bool]:
    """For each row of a figure's table, whether it shows a reconstruction."""
    if "reconstruction" in table:
        return list(table["reconstruction"])
    return [study.reconstructed(method) for method in table.get("method", ())]


def _variants(study: Study) -> Figure:
    table = variants.variants(study)
    caption = (
        f"Test top-1 of each variant, mean over {numbers(table['n'])} seeds with a 95 % t interval (none for one seed). Dashed "
        "line and band: the dense control. A hollow point shows validation top-1: its runs have not opened the test split."
    )
    missing = if_empty(table, "no variant has a result yet")
    return Figure("variants", "Accuracy of the variants", caption, table, partial(variants.draw, table), missing)


SHARE_NAMES = {"weights_left": "weights left", "macs_left": "MACs left"}


def _accuracy(study: Study, size: str) -> Figure:
    table = accuracy.accuracy_against(study, size)
    means = _means(study, table)
    caption = f"{means[0].upper()}{means[1:]} {accuracy.DRAWN}"
    if (table["series"] == "trial").any():
        caption = (
            "Light points: every finished trial (validation, one seed); an arrow marks a trial below the axis. Line: the "
            f"Pareto-optimal trials of a method. Large points: {means} Where a method has several, they are shifted sideways "
            "slightly."
        )
    missing = if_empty(table, "no run has ended with a result yet")
    name, title = f"accuracy-{size.replace('_', '-')}", f"Accuracy against {SHARE_NAMES[size]}"
    return Figure(name, title, caption, table, partial(accuracy.draw, table, size), missing)


def _means(study: Study, table: pd.DataFrame) -> str:
    """The sentence of a caption about the means of finals and of the dense control."""
    shown = "the variants" if study.grid else "finals"
    counts = table.loc[table["series"].isin(("final", "control")), "n"]
    if not len(counts):
        return f"{shown} and the dense control are not finished yet."
    return (
        f"{shown} and the dense control (dashed, shaded) are means over {numbers(counts)} seeds on the test split, with 95 % t "
        "intervals (none for one seed)."
    )


def _curves(study: Study) -> Figure:
    table = series.validation_curves(study)
    chosen = "; #k is the trial that was selected" if study.tuned else ""
    caption = (
        f"Validation top-1 at the end of each epoch, mean over {numbers(table['n'])} seeds; bands are 95 % t intervals, where "
        f"at most {series.BANDS} lines share a panel (the CSV has all){chosen}. A method that rewinds restarts its training in "
        f"each round. {series.BEGUN}"
    )
    missing = if_empty(table, "no run has written curves yet")
    return Figure("curves", "Validation curves", caption, table, partial(series.draw_curves, table), missing)


def _layers(study: Study) -> Figure:
    table = series.layer_sparsity(study)
    caption = (
        "Share of zero weights in each layer of the finished model, from input to output, mean over "
        f"{numbers(table['n'])} seeds. Hollow: layers that the method may not prune. {series.LEFT_OUT}"
    )
    missing = if_empty(table, "no pruned model is finished yet")
    return Figure("layers", "Sparsity per layer", caption, table, partial(series.draw_layers, table), missing)


def _rounds(study: Study) -> Figure:
    table = rounds.pq_rounds(study)
    missing = if_empty(table, NO_ROUNDS)
    if len(table) and "sap-phases" in study.declared.figures:
        table, missing = table[:0], "the figure of SAP's ablations shows the same rounds"
    caption = (
        f"PQ index (p = 0.5, q = 1) of the live weights at the end of each round. {rounds.RULE} {rounds.seen(table)}"
    )
    title = "PQ index over rounds, and the phases that the SAP paper predicts"
    return Figure("pq-rounds", title, caption, table, partial(rounds.draw, table), missing)


def _importances(study: Study) -> Figure:
    table = search.importances(study)
    missing = if_empty(table, "importances are computed at the end of a study with at least four results")
    if not study.tuned:
        missing = UNTUNED
    caption = (
        "Optuna's estimate of the share of each tuned parameter in the variance of each objective over the trials."
        f"{search.left_out(table)}"
    )
    title, draw = "Parameter importances", partial(search.draw_importances, table)
    return Figure("importances", title, caption, table, draw, missing)


def _slices(study: Study) -> Figure:
    table = search.slices(study)
    missing = if_empty(table["accuracy"].dropna(), "no trial has ended with a result yet")
    if not study.tuned:
        missing = UNTUNED
    most = ""
    if (table["rank"] >= search.KNOBS).any():
        most = f"The {search.KNOBS} most important parameters of each cell are shown; the CSV has all. "
    caption = (
        f"Validation top-1 of each trial against the value of each tuned parameter; later trials are darker. {most}The other "
        "parameters vary too, so that a trend can be due to them. An arrow marks a trial far below the axis."
        f"{search.left_out(table, search.KNOBS)}"
    )
    return Figure("slices", "Slices", caption, table, partial(search.draw_slices, table), missing)


def _history(study: Study) -> Figure:
    table = search.history(study)
    failed = int(table["accuracy"].isna().sum())
    told = search.REACHED[study.pareto]
    caption = (
        f"Validation top-1 of each trial, by trial number ({len(table)} ended, {failed} failed), and {told.caption}."
        f"{search.left_out(table, told.rows)}"
    )
    missing = if_empty(table, "no trial has ended yet")
    if not len(table) and not study.tuned:
        missing = UNTUNED
    draw = partial(search.draw_history, table, study.pareto)
    return Figure("history", "Optimisation history", caption, table, draw, missing)


def numbers(counts: Iterable[float]) -> str:
    """The range of the numbers of seeds in a figure: "n = 3", "n = 1 to 3", or "no" without any."""
    found = sorted(set(counts))
    if not found:
        return "no"
    if len(found) == 1:
        return f"n = {found[0]:.0f}"
    return f"n = {found[0]:.0f} to {found[-1]:.0f}"
