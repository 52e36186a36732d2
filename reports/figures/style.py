"""How figures look: the two widths of a paper, one look per method, and files that are the same bytes every time."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from reports.load.records import CONTROL

COLUMN, PAGE = 3.3, 6.9  # inches
AXIS = 0.5  # inches that the axis of a panel takes
NAME = 9.6  # points that a row of names above a panel takes
MANY = 12  # panels
DENSE = 250  # points in a panel; more are drawn as an image, in PDF and SVG too
WIDTHS = {"page": PAGE, "column": COLUMN}
# Okabe & Ito (2008): told apart with any colour vision; dark and light alternate so that they differ in grey too. Then four
# of Tol's (2021, muted). With six markers, thirty methods have looks of their own.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#882255", "#999933", "#332288", "#44AA99")
MARKERS = ("o", "s", "^", "D", "v", "P")
GREYS = ("#5a5a5a", "#9a9a9a")  # of what was injected: hollow, so that the methods in question stand out
Dash = str | tuple[int, tuple[float, ...]]
Colour = str
CONTROL_DASH: Dash = (0, (4, 2))
LINES: tuple[Dash, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
INK = "#222222"


@dataclass(frozen=True)
class Look:
    """Colour and marker: what tells a method from the others."""

    colour: str
    marker: str
    hollow: bool = False

    @property
    def face(self) -> str:
        """What the marker is filled with."""
        return "white" if self.hollow else self.colour

    def mark(self) -> dict[str, Any]:
        """Matplotlib's settings of the marker."""
        edge = {"markeredgewidth": 0.7} if self.hollow else {}
        return {"color": self.colour, "marker": self.marker, "markerfacecolor": self.face, **edge}


Looks = Mapping[str, Look]


def looks(methods: Sequence[str], injected: Sequence[str] = ()) -> Looks:
    """A look for each method, by its place among all methods of a report; what was injected beside them is grey and hollow,
    and the dense control is ink."""
    others, greys = [m for m in methods if m != CONTROL], [m for m in injected if m not in (*methods, CONTROL)]
    found = {m: Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, m in enumerate(others)}
    found |= {m: Look(GREYS[i % len(GREYS)], MARKERS[i % len(MARKERS)], hollow=True) for i, m in enumerate(greys)}
    return {**found, CONTROL: Look(INK, "x")}


@contextlib.contextmanager
def paper() -> Iterator[None]:
    """Matplotlib's settings for paper, whatever the user's own are."""
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
    """A figure of ``count`` panels of ``rows`` axes each, as ``[panel][row]``.

    At page width up to ``most`` panels stand side by side, and in a column up to ``narrow``; others below them. Where they are
    many, more stand side by side, and they are lower, but not lower than ``least``. ``names`` are those that stand above each
    panel (see `title`): where they need much room, the figure grows.
    """
    across = (most + (count > MANY) if wide else max(narrow, 1 + (count > MANY // 2))) if count > 1 else 1
    across = min(count, across)
    down, width = math.ceil(count / across), PAGE if wide else COLUMN
    tall = max(least, (height if rows == 1 else 0.72 * height) * (1.0 if down <= 4 else 0.8))
    lines = [math.ceil(len(own) / _columns(width / across - AXIS, own)) for own in names if own]
    rooms = [max(0, max(lines[i * across : (i + 1) * across], default=0) - 2) for i in range(down)]
    figure = Figure(figsize=(width, down * rows * tall + sum(rooms) * NAME / 72 + 0.45), layout="constrained")
    grid = figure.subplots(down * rows, across, squeeze=False)
    for spare in range(count, down * across):
        for row in range(rows):
            grid[spare // across * rows + row][spare % across].set_axis_off()
    return figure, [[grid[i // across * rows + row][i % across] for row in range(rows)] for i in range(count)]


def shade(colour: str, index: int, count: int) -> Colour:
    """The ``index``-th of ``count`` shades of a colour, from light to dark."""
    weight = 1.1 * index / max(1, count - 1) - 0.55  # below 0: towards white, above: towards black
    towards = 1.0 if weight < 0 else 0.0
    red, green, blue = ((1 - abs(weight)) * part + abs(weight) * towards for part in to_rgb(colour))
    return to_hex((red, green, blue))


def ink(**settings: Any) -> dict[str, Any]:
    """Matplotlib's settings of a mark, to be used again."""
    return settings


def dense(points: Sized) -> bool:
    """Whether so many points are better drawn as an image: as shapes they would make a file large and slow to show."""
    return len(points) > DENSE


def key(label: str, **settings: Any) -> Line2D:
    """An entry of a legend, by default a line."""
    return Line2D([], [], label=label, **settings)


def title(axes: Axes, text: str, named: Sequence[Artist] = ()) -> None:
    """A panel's title, at its left end, cut where it would not fit; between it and the panel, the names of its lines."""
    rows, most = _names(axes, named) if named else 0, min(60, int(19 * panel_width(axes)))
    axes.set_title(_cut(text, most), loc="left", fontweight="bold", pad=4 + NAME * rows)


def _cut(text: str, most: int) -> str:
    """Text of ``most`` characters at most: cut in the middle, as what tells names apart is at their ends."""
    if len(text) <= most:
        return text
    tail = most // 2
    return f"{text[: most - tail - 1]}…{text[-tail:]}"


def panel_width(axes: Axes) -> float:
    """The inches that a panel has for itself, without those that its axis takes."""
    figure, spec = axes.get_figure(root=True), axes.get_subplotspec()
    assert figure is not None
    assert spec is not None
    return figure.get_figwidth() / spec.get_gridspec().ncols - AXIS


def _names(axes: Axes, named: Sequence[Artist]) -> int:
    """A legend above a panel, in as many columns as it is wide; returns the number of its rows."""
    columns = _columns(panel_width(axes), [str(line.get_label()) for line in named])
    place = ink(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1, borderpad=0.1)
    axes.legend(handles=named, ncols=columns, labelspacing=0.25, columnspacing=1.2, **place)
    return math.ceil(len(named) / columns)


def _columns(width: float, names: Sequence[str]) -> int:
    """How many names of 7 pt, each with its line, fit beside each other."""
    return max(1, int(width / (0.44 + 0.05 * max(map(len, names)))))


def leftmost(axes: Axes) -> bool:
    """Whether a panel stands at the left end of the figure, where the axis is named for all."""
    spec = axes.get_subplotspec()
    return spec is None or spec.is_first_col()


def accuracy_axis(axes: Axes, label: str, low: float | None = None) -> None:
    """The y axis for an accuracy in per cent: no interval stretches it beyond 0 and 100, nor below ``low``."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, -1.0) if low is None else low, min(top, 101.0))
    if leftmost(axes):
        axes.set_ylabel(label)


def worth(accuracies: Iterable[float]) -> float:
    """The lowest accuracy (per cent) worth a place on an axis: what lies much further below the best than the middle does
    would hide how the others differ."""
    found = sorted(value for value in accuracies if not math.isnan(value))
    if not found:
        return 0.0
    best, middle = found[-1], found[len(found) // 2]
    return max(0.0, best - max(5.0, 4 * (best - middle)))


def below(axes: Axes, where: Iterable[float], lowest: float, colour: str) -> None:
    """Arrows at the lower end of an axis, for what lies below it."""
    places = list(where)
    axes.plot(places, [lowest] * len(places), linestyle="none", marker=CARETDOWN, color=colour, markersize=5, zorder=5)


def legend(figure: Figure, handles: Sequence[Artist], wide: bool) -> None:
    """One legend below all panels."""
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4 if wide else 2))


def note(figure: Figure, text: str) -> None:
    """A small line above everything, at the right: what a figure must say also where it stands without its caption."""
    figure.suptitle(text, x=0.995, ha="right", fontsize=6.5, color="#555555")


def percent_axis(axes: Axes, low: float, *, log: bool) -> None:
    """The x axis for what is left of a model, from 100 per cent on the left to ``low`` (per cent) on the right."""
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if low > 1 else (1, 3)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(112, low / 1.12)
    else:
        axes.set_xlim(102, low - 0.04 * (100 - low) - 0.5)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def log_axis(axis: Axis, *, unit: float = 1.0) -> None:
    """A logarithmic axis with plain numbers, in units of ``unit``: a few where less than a factor of 6 is seen, at 1, 2 and
    5, or over more than two decades at 1 only. To be called when everything is drawn."""
    axes = axis.axes
    if axis is axes.xaxis:
        axes.set_xscale("log")
    else:
        axes.set_yscale("log")
    low, high = axis.get_view_interval()
    steps = LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5))
    axis.set_major_locator(MaxNLocator(4) if high < 6 * low else steps)
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit:g}"))


def render(figure: Figure) -> dict[str, bytes]:
    """The figure as PDF, SVG and PNG, without dates and names of programs.

    The canvases are called directly: `Figure.savefig` would lay out and draw everything twice for each of them.
    """
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
    figure.set_layout_engine("none")
    png, pdf, svg = io.BytesIO(), io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None}, pil_kwargs={"compress_level": 1})  # type: ignore[no-untyped-call]
    FigureCanvasPdf(figure).print_pdf(pdf, metadata={"CreationDate": None})  # type: ignore[no-untyped-call]
    FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return {"pdf": pdf.getvalue(), "svg": svg.getvalue(), "png": png.getvalue()}
