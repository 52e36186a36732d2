"""Figures and tables that only some studies ask for, by the names in their declaration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from reports.figures import (
    allocation,
    cells,
    costs,
    decay,
    equilibrium,
    hosts,
    improvement,
    profiles,
    prunable,
    ranking,
    roads,
    rounds,
    speed,
)
from reports.figures.catalog import Figure, numbers
from reports.figures.series import MOST
from reports.load.published import ZHU_GUPTA
from reports.load.records import Study
from reports.tables import comparison, ledger, sanity
from reports.tables.columns import Column, Table, fixed, interval, percent, text


def makers(study: Study) -> list[Callable[[Study], Figure]]:
    """What makes the figures that a study asks for; a name that this version does not know is told among the warnings."""
    return [SPECIAL[name] for name in study.declared.figures if name in SPECIAL]


def tables(study: Study) -> list[Callable[[Study], Table]]:
    """What makes the tables that a study asks for: those of these names, which may belong to a figure."""
    return [TABLES[name] for name in study.declared.figures if name in TABLES]


def _roads(study: Study) -> Figure:
    table = roads.roads(study)
    own = table[~table["paper"]]
    caption = (
        "Both roads to a small model: a large one made sparse, and a small one of the same family trained dense. Measured: "
        f"test top-1, mean over {numbers(own['n'])} seeds with 95 % t intervals (none for one seed), over the parameters that "
        "are not zero, and over bytes: of a sparse model 4 for each non-zero weight and, for their positions, the smaller of a "
        "bit mask and 4-bit indices; of a dense one 4 for each parameter; buffers are counted. Shaded panels, hollow points: "
        f"the paper's numbers, as printed in {ZHU_GUPTA}; its table 6 does not list the bytes of the full dense model."
    )
    missing = "" if len(own) else "no final has a result yet"
    title = "Large and sparse, or small and dense"
    return Figure("roads", title, caption, table, partial(roads.draw, table), missing)


def _equilibrium(study: Study) -> Figure:
    table = equilibrium.equilibrium(study)
    caption = (
        "Points, measured: the sparsity of the finished model over its prunable weights where constant probabilities were "
        f"left to themselves, mean over {numbers(table['n'])} seeds with 95 % t intervals (none for one seed). Lines, theory: "
        "the expected fixed point that the study declared for each point, joined; it was not fitted. "
        f"{equilibrium.farthest(table)} Panel of parts: test top-1 where each part of the method, and both, end at the wanted "
        "sparsity; dashed and shaded: the dense control. No number here is from a paper."
    )
    missing = "" if len(table) else "no variant has a result yet"
    title = "Drop probabilities: the sparsity they lead to, and what each part is worth"
    return Figure("equilibrium", title, caption, table, partial(equilibrium.draw, table), missing)


def _sap_phases(study: Study) -> Figure:
    table = rounds.pq_rounds(study)
    missing = "" if len(table) else "no shown run trains in more than one phase, so there are no rounds to compare"
    caption = (
        "Measured: validation top-1, PQ index (p = 0.5, q = 1) of the live weights, and weights left (of all convolution and "
        f"linear weights) at the end of each round, before it prunes; mean over {numbers(table['n'])} seeds, bands are 95 % t "
        f"intervals (none for one seed). Theory: the names of the phases (Diao et al. 2023, arXiv:2302.05601). {rounds.RULE} "
        f"{rounds.seen(table)} The table of phases has them all. At most {MOST} variants share a panel. No number here is "
        "from the paper."
    )
    title = "SAP's ablations: accuracy and PQ index over rounds"
    return Figure("sap-phases", title, caption, table, partial(rounds.draw, table, left=True), missing)


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
        f"In which rounds each predicted phase was seen. {rounds.RULE} ± top-1: the median half width of the 95 % t intervals "
        "of validation top-1 over the rounds; where it exceeds these bounds the names are within noise."
    )
    return Table("phases", "Phases", caption, rounds.phases(rounds.pq_rounds(study)), columns)


def _prunable(study: Study) -> Figure:
    table = prunable.prunable(study)
    lost = int((table["n"] == 0).sum())
    caption = (
        "Measured. Bars: all parameters of each finished model, by share of what may be pruned; convolution and linear weights "
        "that are not prunable are the classifier's and what the method's settings spare, other parameters are norms, biases, "
        f"embeddings, tables and tokens. Points: test top-1, mean over {numbers(table.loc[table['n'] > 0, 'n'])} seeds with "
        f"95 % t intervals (none for one seed). {lost} of {len(table)} have no result; "
        "the table of architectures has the reasons. No number here is from a paper."
    )
    missing = "" if len(table) else "no run has ended yet"
    title = "What can be pruned in each architecture"
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
        Column("why", "reason", text("reason"), long=True),
    )
    caption = (
        "Shares of all parameters in per cent: pruned and left of what may be pruned, spared convolution and linear weights, "
        "other parameters, and of these norms and biases. Test top-1 in per cent, mean over n seeds ± half the width of the "
        "95 % t interval, of the pruned model and of its dense control. Where runs failed, why."
    )
    return Table("architectures", "Architectures", caption, frame, columns)


def _improvement(study: Study) -> Figure:
    frame = comparison.tidy(study)
    return improvement.figure(frame, comparison.baseline(study, frame))


def _comparison(study: Study) -> Table:
    frame = comparison.tidy(study)
    return comparison.comparison(frame, comparison.baseline(study, frame))


def _overall(study: Study) -> Table:
    frame = comparison.tidy(study)
    return comparison.overall(frame, comparison.baseline(study, frame))


SPECIAL: Mapping[str, Callable[[Study], Figure]] = {
    "roads": _roads,
    "equilibrium": _equilibrium,
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
