"""The PQ index over pruning rounds, and the three phases that Diao et al. (2023, arXiv:2302.05601) predict.

While a network is pruned round by round, the paper expects: regularisation (accuracy rises slightly, PQ index falls), then
compression (accuracy falls slightly, PQ index rises), then collapse (both fall strongly).
"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.figures import style
from reports.figures.series import WHO, averages, configurations, facets, names
from reports.figures.style import INK, Looks, ink, key
from reports.load.records import CONFIGURATION, Study

SLIGHT, STRONG_PQ = 5.0, 0.05  # points of top-1, and of the PQ index, from one round to the next
PHASES = ("regularisation", "compression", "collapse")
RULE = (
    "A round is named by its change from the previous round (means over seeds, validation): regularisation where the PQ "
    f"index falls and top-1 rises by 0 to {SLIGHT:g} points; compression where the PQ index rises and top-1 falls by 0 to "
    f"{SLIGHT:g} points; collapse where top-1 falls by more than {SLIGHT:g} points and the PQ index by more than "
    f"{STRONG_PQ:g}; other rounds have no name."
)
SPELLED = 8  # configurations up to which a caption lists them one by one
SCALES = {"weights_left": 100}  # shares are drawn in per cent
MARKS = {"regularisation": "v", "compression": "s", "collapse": "X", "": "o"}


def phase_of(accuracy_change: float, pq_change: float) -> str:
    """The predicted phase of a change from one round to the next (see `RULE`), or ""."""
    if pq_change < 0 and 0 <= accuracy_change <= SLIGHT:
        return "regularisation"
    if pq_change > 0 and -SLIGHT <= accuracy_change <= 0:
        return "compression"
    if accuracy_change < -SLIGHT and pq_change < -STRONG_PQ:
        return "collapse"
    return ""


def pq_rounds(study: Study) -> pd.DataFrame:
    """Returns one row per configuration and round: validation top-1 and PQ index at its end, before the method prunes.

    Configurations with a single round are left out, because there is no change to name.
    """
    rows = study.parts(study.shown(), "phases")
    columns = [*WHO, "round", "top1", "top1_low", "top1_high", "pq", "pq_low", "pq_high", "weights_left", "n", "phase"]
    if not len(rows):
        return pd.DataFrame(columns=columns)
    rows = rows.rename(columns={"val/top1": "top1"}).assign(round=rows["index"] + 1)
    by = [*WHO, "round"]
    table = averages(rows, by, "weights_left").drop(columns=["low", "high", "n"])
    top1 = averages(rows, by, "top1").rename(columns={"low": "top1_low", "high": "top1_high"}).drop(columns="n")
    pq = averages(rows, by, "pq").rename(columns={"low": "pq_low", "high": "pq_high"})
    table = table.merge(top1, on=by).merge(pq, on=by)
    several = table.groupby(CONFIGURATION)["round"].transform("size") > 1
    table = table[several].sort_values(["order", *CONFIGURATION, "round"], ignore_index=True)
    changes = table.groupby(CONFIGURATION)[["top1", "pq"]].diff()
    named = [phase_of(a, b) for a, b in zip(changes["top1"], changes["pq"], strict=True)]
    return table.assign(phase=named).reindex(columns=columns)


def phases(table: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per configuration: the rounds in which each phase was observed, as words, or ""; and ``noise``, the
    median half width of its intervals of top-1 (NaN for one seed)."""
    found = []
    for _, rows in table.groupby(["order", *CONFIGURATION], sort=True):
        whose = {key: rows[key].iloc[0] for key in WHO}
        rounds = {phase: _spans(rows.loc[rows["phase"] == phase, "round"].tolist()) for phase in PHASES}
        found.append({**whose, **rounds, "noise": (rows["top1_high"] - rows["top1"]).median(), "n": rows["n"].max()})
    return pd.DataFrame(found, columns=[*WHO, *PHASES, "noise", "n"])


def seen(table: pd.DataFrame) -> str:
    """The phases that were observed: a sentence per configuration, or where they are too many, a count of each phase."""
    found = phases(table)
    if len(found) > SPELLED:
        return _counted(found)
    sentences = []
    for row in found.to_dict("records"):
        parts = [f"{phase} {_where(row[phase])}" for phase in PHASES]
        sentences.append(f"{row['label']} on {row['model']}: {', '.join(parts)}.")
        if row["noise"] > SLIGHT:
            sentences.append(
                f"(The intervals of its top-1 are ± {row['noise']:.0f} points wide, so these names are within noise.)"
            )
    return " ".join(sentences)


def _where(rounds: str) -> str:
    if not rounds:
        return "not observed"
    return f"in {rounds}"


def _counted(found: pd.DataFrame) -> str:
    """In how many configurations each phase was observed."""
    counts = [f"{phase} in {int((found[phase] != '').sum())}" for phase in PHASES]
    told, noisy = f"Of {len(found)} configurations, {', '.join(counts)}", int((found["noise"] > SLIGHT).sum())
    if noisy:
        told += f"; in {noisy} the intervals of top-1 are wider than ± {SLIGHT:g} points"
    return f"{told}."


def _spans(rounds: list[int]) -> str:
    """Rounds as words: "round 2", or "rounds 2, 4–6"; "" for none."""
    if len(rounds) < 2:
        return "".join(f"round {number}" for number in rounds)
    parts, start = [], 0
    for i in range(1, len(rounds) + 1):
        if i == len(rounds) or rounds[i] != rounds[i - 1] + 1:
            parts += _span(rounds[start:i])
            start = i
    return f"rounds {', '.join(parts)}"


def _span(rounds: list[int]) -> list[str]:
    """Consecutive rounds; of three or more only the ends."""
    if len(rounds) > 2:
        return [f"{rounds[0]}–{rounds[-1]}"]
    return list(map(str, rounds))


def draw(table: pd.DataFrame, looks: Looks, wide: bool, *, left: bool = False) -> Figure:
    """Draws for each model or group of variants accuracy above the PQ index; the marker shows the phase.

    With ``left`` a third row shows the weights that are left.
    """
    parts, values, height = facets(table), ["top1", "pq"], 2.4
    if left:
        values, height = [*values, "weights_left"], 2.1
    figure, grid = style.panels(len(parts), wide, rows=len(values), height=height, names=names(parts))
    for panel, (name, part) in zip(grid, parts, strict=True):
        named = []
        for rows, look, dash in configurations(part, looks):
            lines = [_line(axes, rows, value, look.colour, dash) for axes, value in zip(panel, values, strict=True)]
            named.append(lines[0])
        for axes in panel[:-1]:
            axes.sharex(panel[-1])
            axes.tick_params(labelbottom=False)
        panel[-1].set_xlabel("Pruning round")
        panel[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        style.accuracy_axis(panel[0], "Val. top-1 (%)")
        style.label_y(panel[1], "PQ index")
        for axes in panel[2:]:
            style.log_axis(axes.yaxis)
            style.label_y(axes, "Weights left (%)")
        style.title(panel[0], name, named)
    plain = ink(color=INK, linestyle="none")
    handles = [key(phase, marker=MARKS[phase], **plain) for phase in PHASES]
    handles.append(key("none of these", marker=MARKS[""], markerfacecolor="white", **plain))
    style.legend(figure, handles, wide)
    return figure


def _line(axes: Axes, rows: pd.DataFrame, value: str, colour: str, dash: style.Dash) -> Line2D:
    scale, band = SCALES.get(value, 1), ink(color=colour, alpha=0.12, linewidth=0)
    if f"{value}_low" in rows:
        axes.fill_between(rows["round"], rows[f"{value}_low"], rows[f"{value}_high"], **band)
    name = str(rows["label"].iloc[0])
    (line,) = axes.plot(rows["round"], scale * rows[value], color=colour, linestyle=dash, label=name)
    for phase, points in rows.groupby("phase"):
        fill = style.fill(colour, hollow=not phase)
        face = ink(marker=MARKS[str(phase)], markerfacecolor=fill, markeredgecolor=colour)
        axes.plot(points["round"], scale * points[value], linestyle="none", **face)
    return line
