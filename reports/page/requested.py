"""Figures and tables that only some studies have, by the names in their declarations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from reports.figures import (
    allocation,
    cells,
    costs,
    decay,
    fixed_points,
    hosts,
    improvement,
    large_sparse_small_dense,
    profiles,
    prunable,
    ranking,
    rounds,
    speed,
)
from reports.figures.catalog import NO_ROUNDS, Figure, if_empty, numbers
from reports.figures.series import MOST
from reports.load.published import ZHU_GUPTA
from reports.load.records import Study
from reports.tables import comparison, ledger, overall, sanity
from reports.tables.columns import Column, Table, fixed, interval, percent, text


def makers(study: Study) -> list[Callable[[Study], Figure]]:
    """The functions that make the declared figures of a study; a warning names those that this version does not know."""
    return [FIGURES[name] for name in study.declared.figures if name in FIGURES]


def tables(study: Study) -> list[Callable[[Study], Table]]:
    """The functions that make the declared tables of a study; a name can stand for a figure and a table."""
    return [TABLES[name] for name in study.declared.figures if name in TABLES]


def _large_sparse_small_dense(study: Study) -> Figure:
    table = large_sparse_small_dense.sizes(study)
    own = table[~table["paper"]]
    caption = (
        "Large sparse models and small dense models of the same family. Measured: test top-1, mean over "
        f"{numbers(own['n'])} seeds with 95 % t intervals (none for one seed), over the number of non-zero parameters, and "
        "over bytes: of a sparse model 4 for each non-zero weight and, for the positions, the smaller of a bit mask and 4-bit "
        "indices; of a dense model 4 for each parameter; buffers are included. Shaded panels, hollow points: the paper's "
        f"numbers, as printed in {ZHU_GUPTA}; its table 6 does not list the bytes of the full dense model."
    )
    missing = if_empty(own, "no final has a result yet")
    title = "Large and sparse, or small and dense"
    return Figure("roads", title, caption, table, partial(large_sparse_small_dense.draw, table), missing)


def _fixed_points(study: Study) -> Figure:
    table = fixed_points.fixed_points(study)
    caption = (
        "Points, measured: the sparsity of the finished model over its prunable weights, with constant probabilities, mean "
        f"over {numbers(table['n'])} seeds with 95 % t intervals (none for one seed). Lines, theory: the expected fixed points "
        f"that the study declared, joined; they were not fitted. {fixed_points.farthest(table)} Panel of parts: test top-1 "
        "where each part of the method, and both, end at the wanted sparsity; dashed and shaded: the dense control. No number "
        "here is from a paper."
    )
    missing = if_empty(table, "no variant has a result yet")
    title = "Drop probabilities: resulting sparsity, and accuracy of each part"
    return Figure("equilibrium", title, caption, table, partial(fixed_points.draw, table), missing)


def _sap_phases(study: Study) -> Figure:
    table = rounds.pq_rounds(study)
    caption = (
        "Measured: validation top-1, PQ index (p = 0.5, q = 1) of the live weights, and weights left (of all convolution and "
        f"linear weights) at the end of each round, before it prunes; mean over {numbers(table['n'])} seeds, bands are 95 % t "
        f"intervals (none for one seed). Theory: the names of the phases (Diao et al. 2023, arXiv:2302.05601). {rounds.RULE} "
        f"{rounds.seen(table)} The table of phases lists them. At most {MOST} variants share a panel. No number here is from "
        "the paper."
    )
    title, draw = "SAP's ablations: accuracy and PQ index over rounds", partial(rounds.draw, table, left=True)
    return Figure("sap-phases", title, caption, table, draw, if_empty(table, NO_ROUNDS))


def _phases(study: Study) -> Table:
    columns = (
        Column("group", "group", text("group")),
        Column("variant", "label", text("label")),
        Column("model", "model", text("model")),
        Column("n", "n", fixed("n", 0), number=True),
        *(Column(phase, phase, text(phase)) for phase in rounds.PHASES),
        Column("± top-1", "noise", fixed("noise"), number=True),
    )
    caption = (
        f"The rounds in which each predicted phase was observed. {rounds.RULE} ± top-1: the median half width of the 95 % t "
        "intervals of validation top-1 over the rounds; where it exceeds these bounds, the names are within noise."
    )
    return Table("phases", "Phases", caption, rounds.phases(rounds.pq_rounds(study)), columns)


def _prunable(study: Study) -> Figure:
    table = prunable.prunable(study)
    lost = int((table["n"] == 0).sum())
    caption = (
        "Measured. Bars: all parameters of each finished model, by share that may be pruned; convolution and linear weights "
        "that are not prunable are the classifier's and those that the method's settings exclude; other parameters are norms, "
        "biases, embeddings, tables and tokens. Points: test top-1, mean over "
        f"{numbers(table.loc[table['n'] > 0, 'n'])} seeds with 95 % t intervals (none for one seed). {lost} of {len(table)} "
        "have no result; the table of architectures lists the reasons. No number here is from a paper."
    )
    missing = if_empty(table, "no run has ended yet")
    title = "Prunable parameters of each architecture"
    return Figure("prunable", title, caption, table, partial(prunable.draw, table), missing)


def _architectures(study: Study) -> Table:
    table = prunable.prunable(study)
    frame = table.assign(
        half=table["high"] - table["top1"],
        dense_half=table["dense_high"] - table["dense"],
        millions=table["parameters"] / 1e6,
    )
    columns = (
        Column("architecture", "model", text("model")),
        Column("method", "label", text("label")),
        Column("parameters (M)", "millions", fixed("millions", 3), number=True),
        *(Column(name, name, percent(name), number=True) for name in (*prunable.PARTS, *prunable.EXTRA)),
        Column("n", "n", fixed("n", 0), number=True),
        Column("test top-1", "top1", interval("top1", "half"), number=True),
        Column("dense", "dense", interval("dense", "dense_half"), number=True),
        Column("failed runs", "failed", fixed("failed", 0), number=True),
        Column("reason", "reason", text("reason"), long=True),
    )
    caption = (
        "Shares of all parameters in per cent: pruned and left of what may be pruned, spared convolution and linear weights, "
        "other parameters, and of these norms and biases. Test top-1 in per cent, mean over n seeds ± half the width of the "
        "95 % t interval, of the pruned model and of its dense control. Reason: why runs failed."
    )
    return Table("architectures", "Architectures", caption, frame, columns)


def _improvement(study: Study) -> Figure:
    frame = comparison.tidy(study)
    return improvement.figure(frame, comparison.baselines(study, frame))


def _comparison(study: Study) -> Table:
    frame = comparison.tidy(study)
    return comparison.comparison(frame, comparison.baselines(study, frame))


def _overall(study: Study) -> Table:
    frame = comparison.tidy(study)
    return overall.overall(frame, comparison.baselines(study, frame))


FIGURES: Mapping[str, Callable[[Study], Figure]] = {
    "roads": _large_sparse_small_dense,
    "equilibrium": _fixed_points,
    "sap-phases": _sap_phases,
    "prunable": _prunable,
    "comparison": cells.figure,
    "profiles": lambda study: profiles.figure(comparison.tidy(study)),
    "ranks": lambda study: ranking.figure(comparison.tidy(study)),
    "improvement": _improvement,
    "speed": speed.figure,
    "costs": costs.figure,
    "allocation": allocation.figure,
    "hosts": hosts.figure,
    "decay": decay.figure,
}
TABLES: Mapping[str, Callable[[Study], Table]] = {
    "sap-phases": _phases,
    "prunable": _architectures,
    "speed": speed.listing,
    "comparison": _comparison,
    "overall": _overall,
    "hosts": hosts.listing,
    "ledger": ledger.table,
    "sanity": sanity.table,
}
