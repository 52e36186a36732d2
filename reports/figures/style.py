"""Style of all figures: two widths, one look per method, panels, axes and legends."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator

from reports.load.records import CONTROL

COLUMN, PAGE = 3.3, 6.9  # inches
AXIS = 0.5  # inches that the y axis of a panel takes
NAME = 9.6  # points that a row of names above a panel takes
MANY = 12  # panels; with more, an additional panel fits in each row and panels are lower
DENSE = 250  # points in a panel; more are rasterized, in PDF and SVG too
LEGEND_COLUMNS = {True: 4, False: 2}  # of the figure's legend, at page and at column width
WIDTHS = {"page": PAGE, "column": COLUMN}
# Okabe & Ito (2008), safe for all types of colour vision; dark and light colours alternate, so that they differ in greyscale
# too. Then four colours of Tol (2021, muted). With six markers, thirty methods get distinct looks.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#882255", "#999933", "#332288", "#44AA99")
MARKERS = ("o", "s", "^", "D", "v", "P")
GREYS = ("#5a5a5a", "#9a9a9a")  # of added baselines and controls, with hollow markers, so that the methods stand out
Dash = str | tuple[int, tuple[float, ...]]
Colour = str
CONTROL_DASH: Dash = (0, (4, 2))
LINES: tuple[Dash, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
INK = "#222222"


@dataclass(frozen=True)
class Look:
    """Colour and marker of a method."""

    colour: str
    marker: str
    hollow: bool = False

    @property
    def face(self) -> str:
        """Fill colour of the marker."""
        return fill(self.colour, hollow=self.hollow)

    def mark(self) -> dict[str, Any]:
        """Matplotlib's settings of the marker."""
        settings: dict[str, Any] = {"color": self.colour, "marker": self.marker, "markerfacecolor": self.face}
        if self.hollow:
            settings["markeredgewidth"] = 0.7
        return settings


Looks = Mapping[str, Look]


def looks(methods: Sequence[str], injected: Sequence[str] = ()) -> Looks:
    """Assigns a look to each method by its position among all methods of a report.

    Baselines and controls that were added to a study (``injected``) are grey and hollow; the dense control is a dark cross.
    """
    others, greys = [m for m in methods if m != CONTROL], [m for m in injected if m not in (*methods, CONTROL)]
    found = {m: Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, m in enumerate(others)}
    found |= {m: Look(GREYS[i % len(GREYS)], MARKERS[i % len(MARKERS)], hollow=True) for i, m in enumerate(greys)}
    return {**found, CONTROL: Look(INK, "x")}


@contextlib.contextmanager
def paper() -> Iterator[None]:
    """Applies Matplotlib's settings for paper, independent of the user's own."""
    with matplotlib.style.context(["default", Path(__file__).with_name("paper.mplstyle")]):
        yield


def panels(
    count: int,
    wide: bool,
    *,
    rows: int = 1,
    height: float = 2.1,
    most: int = 3,
    least: float = 0.0,
    narrow: int = 1,
    names: Sequence[Sequence[str]] = (),
) -> tuple[Figure, list[list[Axes]]]:
    """Returns a figure of ``count`` panels of ``rows`` axes each, and the axes as ``[panel][row]``.

    A row of panels has up to ``most`` panels at page width and ``narrow`` at column width. Where there are many panels, a row
    has more of them and they are lower, but not lower than ``least`` (inches). ``names`` are the legends above each panel
    (see `title`): the figure grows where they need several lines.
    """
    width = WIDTHS["page" if wide else "column"]
    across = _panels_per_row(count, wide, most, narrow)
    down = math.ceil(count / across)
    tall = _panel_height(height, rows, down, least)
    lines = [math.ceil(len(own) / _columns(width / across - AXIS, own)) for own in names if own]
    rooms = [max(0, max(lines[i * across : (i + 1) * across], default=0) - 2) for i in range(down)]
    figure = Figure(figsize=(width, down * rows * tall + sum(rooms) * NAME / 72 + 0.45), layout="constrained")
    grid = figure.subplots(down * rows, across, squeeze=False)
    for spare in range(count, down * across):
        for row in range(rows):
            grid[spare // across * rows + row][spare % across].set_axis_off()
    return figure, [[grid[i // across * rows + row][i % across] for row in range(rows)] for i in range(count)]


def _panels_per_row(count: int, wide: bool, most: int, narrow: int) -> int:
    """Number of panels side by side."""
    if wide:
        return min(count, most + (count > MANY))
    return min(count, max(narrow, 1 + (count > MANY // 2)))


def _panel_height(height: float, rows: int, down: int, least: float) -> float:
    """Height of one axes in inches; lower where a panel has several rows, or the figure more than four rows of panels."""
    if rows > 1:
        height = 0.72 * height
    if down > 4:
        height = 0.8 * height
    return max(least, height)


def fill(colour: str, *, hollow: bool) -> Colour:
    """Fill colour of a marker: white where it is hollow."""
    if hollow:
        return "white"
    return colour


def shade(colour: str, index: int, count: int) -> Colour:
    """Returns the ``index``-th of ``count`` shades of a colour, from light to dark."""
    weight = 1.1 * index / max(1, count - 1) - 0.55  # below 0: mixed with white; above 0: with black
    towards = float(weight < 0)
    red, green, blue = ((1 - abs(weight)) * part + abs(weight) * towards for part in to_rgb(colour))
    return to_hex((red, green, blue))


def ink(**settings: Any) -> dict[str, Any]:
    """Returns Matplotlib's settings of a mark as a dict, to use them several times."""
    return settings


def dense(points: Sized) -> bool:
    """Whether a series has so many points that it must be rasterized, as vector markers would make the file large."""
    return len(points) > DENSE


def key(label: str, **settings: Any) -> Line2D:
    """Returns an entry of a legend, by default a line."""
    return Line2D([], [], label=label, **settings)


def title(axes: Axes, text: str, named: Sequence[Artist] = ()) -> None:
    """Writes a panel's title at its left end, shortened where it does not fit, and between title and panel a legend of the
    lines ``named``."""
    rows, most = _names(axes, named), min(60, int(19 * panel_width(axes)))
    axes.set_title(_cut(text, most), loc="left", fontweight="bold", pad=4 + NAME * rows)


def _cut(text: str, most: int) -> str:
    """Shortens a text to ``most`` characters, in the middle, because names differ at their ends."""
    if len(text) <= most:
        return text
    tail = most // 2
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def panel_width(axes: Axes) -> float:
    """Width of a panel in inches without its y axis."""
    figure, spec = axes.get_figure(root=True), axes.get_subplotspec()
    assert figure is not None
    assert spec is not None
    return figure.get_figwidth() / spec.get_gridspec().ncols - AXIS


def _names(axes: Axes, named: Sequence[Artist]) -> int:
    """Draws a legend above a panel in as many columns as fit, and returns the number of its rows (0 without lines)."""
    if not named:
        return 0
    columns = _columns(panel_width(axes), [str(line.get_label()) for line in named])
    place = ink(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1, borderpad=0.1)
    axes.legend(handles=named, ncols=columns, labelspacing=0.25, columnspacing=1.2, **place)
    return math.ceil(len(named) / columns)


def _columns(width: float, names: Sequence[str]) -> int:
    """How many names of 7 pt, each with a line sample, fit side by side in ``width`` inches."""
    return max(1, int(width / (0.44 + 0.05 * max(map(len, names)))))


def leftmost(axes: Axes) -> bool:
    """Whether a panel is in the leftmost column of the figure, where the y axis is labelled for the whole row."""
    spec = axes.get_subplotspec()
    return spec is None or spec.is_first_col()


def label_y(axes: Axes, label: str) -> None:
    """Labels the y axis of a panel in the leftmost column; other panels have no label."""
    if leftmost(axes):
        axes.set_ylabel(label)


def accuracy_axis(axes: Axes, label: str, low: float | None = None) -> None:
    """Sets up the y axis for an accuracy in per cent: intervals do not extend it beyond 0 and 100, nor below ``low``."""
    bottom, top = axes.get_ylim()
    if low is None:
        low = max(bottom, -1.0)
    axes.set_ylim(low, min(top, 101.0))
    label_y(axes, label)


def control_line(axes: Axes, value: float, low: float, high: float, *, vertical: bool = False) -> None:
    """Draws the dense control as a dashed line, with a band for its interval where it has one (``low`` is not NaN)."""
    line, band = (axes.axvline, axes.axvspan) if vertical else (axes.axhline, axes.axhspan)
    line(value, color=INK, linestyle=CONTROL_DASH, linewidth=0.9)
    if not math.isnan(low):
        band(low, high, color=INK, alpha=0.08, linewidth=0)


def control_key(label: str = CONTROL) -> Line2D:
    """The legend's entry of the dense control, see `control_line`."""
    return key(label, color=INK, linestyle=CONTROL_DASH, linewidth=0.9)


def worth(accuracies: Iterable[float]) -> float:
    """Lower limit (per cent) of an accuracy axis: values far below it would compress the differences between the others.

    The distance from the best value to the limit is four times that to the median, and at least 5 points.
    """
    found = sorted(value for value in accuracies if not math.isnan(value))
    if not found:
        return 0.0
    best, middle = found[-1], found[len(found) // 2]
    return max(0.0, best - max(5.0, 4 * (best - middle)))


def below(axes: Axes, where: Iterable[float], lowest: float, colour: str) -> None:
    """Draws arrows at the lower end of an axis (``lowest``) for values below it."""
    places = list(where)
    axes.plot(places, [lowest] * len(places), linestyle="none", marker=CARETDOWN, color=colour, markersize=5, zorder=5)


def legend(figure: Figure, handles: Sequence[Artist], wide: bool) -> None:
    """Draws one legend below all panels."""
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), LEGEND_COLUMNS[wide]))


def note(figure: Figure, text: str) -> None:
    """Writes a small line above the figure, at the right: what a reader must know where the caption is missing."""
    figure.suptitle(text, x=0.995, ha="right", fontsize=6.5, color="#555555")


def percent_axis(axes: Axes, low: float, *, log: bool) -> None:
    """Sets up the x axis for the share of a model that is left, from 100 per cent on the left to ``low`` (per cent) on the
    right."""
    if log:
        ticks = (1, 2, 5) if low > 1 else (1, 3)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(112, low / 1.12)
    else:
        axes.set_xlim(102, low - 0.04 * (100 - low) - 0.5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def log_axis(axis: Axis, *, unit: float = 1.0) -> None:
    """Makes an axis logarithmic with plain numbers, in units of ``unit``.

    There are at most four ticks where the view spans less than a factor of 6; else ticks at 1, 2 and 5 of each decade, or
    at 1 only over more than two decades. Call it after everything is drawn.
    """
    axes = axis.axes
    if axis is axes.xaxis:
        axes.set_xscale("log")
    else:
        axes.set_yscale("log")
    axis.set_major_locator(_log_ticks(*axis.get_view_interval()))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit:g}"))


def _log_ticks(low: float, high: float) -> Locator:
    if high < 6 * low:
        return MaxNLocator(4)
    if high > 100 * low:
        return LogLocator(subs=(1,))
    return LogLocator(subs=(1, 2, 5))
