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
    "A round is named by its change from the round before (means over seeds, validation): regularisation where the PQ "
    f"index falls and top-1 rises by 0 to {SLIGHT:g} points; compression where the PQ index rises and top-1 falls by 0 to "
    f"{SLIGHT:g} points; collapse where top-1 falls by more than {SLIGHT:g} points and the PQ index by more than "
    f"{STRONG_PQ:g}; anything else is left unnamed."
)
SPELLED = 8  # configurations that a caption can tell one by one
MARKS = {"regularisation": "v", "compression": "s", "collapse": "X", "": "o"}


def phase_of(accuracy_change: float, pq_change: float) -> str:
    """The predicted phase that a change from one round to the next belongs to (see `RULE`), or ""."""
    if pq_change < 0 and 0 <= accuracy_change <= SLIGHT:
        return "regularisation"
    if pq_change > 0 and -SLIGHT <= accuracy_change <= 0:
        return "compression"
    return "collapse" if accuracy_change < -SLIGHT and pq_change < -STRONG_PQ else ""


def pq_rounds(study: Study) -> pd.DataFrame:
    """One row per configuration and round: validation top-1 and PQ index at its end, before the method prunes.

    Configurations with one round only are left out: there is no change to name.
    """
    rows = study.parts(study.shown(), "phases")
    columns = [*WHO, "round", "top1", "top1_low", "top1_high", "pq", "pq_low", "pq_high", "weights_left", "n", "phase"]
    if not len(rows):
        return pd.DataFrame(columns=columns)
    rows = rows.rename(columns={"val/top1": "top1"}).assign(round=rows["index"] + 1)
    by = [*WHO, "round"]
    table = averages(rows, by, "weights_left").drop(columns=["low", "high", "n"])
    for value in ("top1", "pq"):
        own = averages(rows, by, value).rename(columns={"low": f"{value}_low", "high": f"{value}_high"})
        table = table.merge(own if value == "pq" else own.drop(columns="n"), on=by)
    several = table.groupby(CONFIGURATION)["round"].transform("size") > 1
    table = table[several].sort_values(["order", *CONFIGURATION, "round"], ignore_index=True)
    changes = table.groupby(CONFIGURATION)[["top1", "pq"]].diff()
    named = [phase_of(a, b) for a, b in zip(changes["top1"], changes["pq"], strict=True)]
    return table.assign(phase=named).reindex(columns=columns)


def phases(table: pd.DataFrame) -> pd.DataFrame:
    """One row per configuration: the rounds in which each phase was seen, as words, or "" where it was not; and
    ``noise``, the median half width of its intervals of top-1 (NaN for one seed)."""
    found = []
    for _, rows in table.groupby(["order", *CONFIGURATION], sort=True):
        whose = {key: rows[key].iloc[0] for key in WHO}
        rounds = {phase: _spans(rows.loc[rows["phase"] == phase, "round"].tolist()) for phase in PHASES}
        found.append({**whose, **rounds, "noise": (rows["top1_high"] - rows["top1"]).median(), "n": rows["n"].max()})
    return pd.DataFrame(found, columns=[*WHO, *PHASES, "noise", "n"])


def seen(table: pd.DataFrame) -> str:
    """Which phases were seen where: a sentence per configuration, or a count of each where they are too many."""
    found = phases(table)
    if len(found) > SPELLED:
        counts = [f"{phase} in {int((found[phase] != '').sum())}" for phase in PHASES]
        blurred = int((found["noise"] > SLIGHT).sum())
        noise = f"; the top-1 of {blurred} is known to worse than ± {SLIGHT:g} points" if blurred else ""
        return f"Of {len(found)} configurations, {', '.join(counts)}{noise}."
    sentences = []
    for row in found.to_dict("records"):
        parts = [f"{phase} in {row[phase]}" if row[phase] else f"{phase} not seen" for phase in PHASES]
        sentences.append(f"{row['label']} on {row['model']}: {', '.join(parts)}.")
        if row["noise"] > SLIGHT:
            sentences.append(
                f"(Its top-1 is known to ± {row['noise']:.0f} points only, so these names are within noise.)"
            )
    return " ".join(sentences)


def _spans(rounds: list[int]) -> str:
    """Rounds as words: "round 2", or "rounds 2, 4–6"; "" for none."""
    parts, start = [], 0
    for i in range(1, len(rounds) + 1):
        if i == len(rounds) or rounds[i] != rounds[i - 1] + 1:
            parts += [f"{rounds[start]}–{rounds[i - 1]}"] if i - start > 2 else [str(r) for r in rounds[start:i]]
            start = i
    return f"round{'s' if len(rounds) > 1 else ''} {', '.join(parts)}" if rounds else ""


def draw(table: pd.DataFrame, looks: Looks, wide: bool, *, left: bool = False) -> Figure:
    """For each model, or group of variants, accuracy above the PQ index; the marker tells the phase.

    With ``left`` a third row shows the weights that are left.
    """
    parts = facets(table)
    values = ("top1", "pq", "weights_left") if left else ("top1", "pq")
    figure, grid = style.panels(len(parts), wide, rows=len(values), height=2.4 if not left else 2.1, names=names(parts))
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
        panel[1].set_ylabel("PQ index" if style.leftmost(panel[1]) else "")
        if left:
            style.log_axis(panel[2].yaxis)
            panel[2].set_ylabel("Weights left (%)" if style.leftmost(panel[2]) else "")
        style.title(panel[0], name, named)
    plain = ink(color=INK, linestyle="none")
    handles = [key(phase, marker=MARKS[phase], **plain) for phase in PHASES]
    handles.append(key("none of these", marker=MARKS[""], markerfacecolor="white", **plain))
    style.legend(figure, handles, wide)
    return figure


def _line(axes: Axes, rows: pd.DataFrame, value: str, colour: str, dash: style.Dash) -> Line2D:
    scale = 100 if value == "weights_left" else 1
    if f"{value}_low" in rows:
        axes.fill_between(
            rows["round"], rows[f"{value}_low"], rows[f"{value}_high"], color=colour, alpha=0.12, linewidth=0
        )
    name = str(rows["label"].iloc[0])
    (line,) = axes.plot(rows["round"], scale * rows[value], color=colour, linestyle=dash, label=name)
    for phase, points in rows.groupby("phase"):
        fill = colour if phase else "white"
        face = ink(marker=MARKS[str(phase)], markerfacecolor=fill, markeredgecolor=colour)
        axes.plot(points["round"], scale * points[value], linestyle="none", **face)
    return line
