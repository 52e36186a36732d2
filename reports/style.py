"""How figures look: the two widths of a paper, one look per method, and files that are the same bytes every time."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

COLUMN, PAGE = 3.3, 6.9  # inches
WIDTHS = {"page": PAGE, "column": COLUMN}
# Okabe & Ito (2008): told apart with any colour vision; dark and light alternate so that they differ in grey too.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
Dash = str | tuple[int, tuple[float, ...]]
CONTROL_DASH: Dash = (0, (4, 2))
LINES: tuple[Dash, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
CONTROL = "dense"
INK = "#222222"


@dataclass(frozen=True)
class Look:
    """Colour and marker: what tells a method from the others."""

    colour: str
    marker: str


Looks = Mapping[str, Look]


def looks(methods: Sequence[str]) -> Looks:
    """A look for each method, by its place among all methods of a report; the dense control is ink."""
    others = [m for m in methods if m != CONTROL]
    found = {m: Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, m in enumerate(others)}
    return {**found, CONTROL: Look(INK, "x")}


@contextlib.contextmanager
def paper() -> Iterator[None]:
    """Matplotlib's settings for paper, whatever the user's own are."""
    with matplotlib.style.context(["default", Path(__file__).with_name("paper.mplstyle")]):
        yield


def panels(
    count: int, wide: bool, *, rows: int = 1, height: float = 2.1, most: int = 3
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of ``count`` panels of ``rows`` axes each, as ``[panel][row]``.

    At page width up to ``most`` panels stand side by side; in a column they stand below each other.
    """
    across = min(count, most) if wide else 1
    down = math.ceil(count / across)
    tall = height if rows == 1 else 0.72 * height
    figure = Figure(figsize=(PAGE if wide else COLUMN, down * rows * tall + 0.45), layout="constrained")
    grid = figure.subplots(down * rows, across, squeeze=False)
    for spare in range(count, down * across):
        for row in range(rows):
            grid[spare // across * rows + row][spare % across].set_axis_off()
    return figure, [[grid[i // across * rows + row][i % across] for row in range(rows)] for i in range(count)]


def ink(**settings: Any) -> dict[str, Any]:
    """Matplotlib's settings of a mark, to be used again."""
    return settings


def key(label: str, **settings: Any) -> Line2D:
    """An entry of a legend, by default a line."""
    return Line2D([], [], label=label, **settings)


def title(axes: Axes, text: str, named: Sequence[Artist] = ()) -> None:
    """A panel's title, at its left end, cut where it would not fit; between it and the panel, the names of its lines."""
    rows = _names(axes, named) if named else 0
    axes.set_title(text if len(text) <= 44 else text[:43] + "…", loc="left", fontweight="bold", pad=4 + 10.5 * rows)


def _names(axes: Axes, named: Sequence[Artist]) -> int:
    """A legend above a panel, in as many columns as it is wide; returns the number of its rows."""
    figure, spec = axes.get_figure(root=True), axes.get_subplotspec()
    assert figure is not None
    assert spec is not None
    width = figure.get_figwidth() / spec.get_gridspec().ncols - 0.5
    columns = max(1, int(width / (0.5 + 0.058 * max(len(str(line.get_label())) for line in named))))
    place = ink(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1, borderpad=0.1)
    axes.legend(handles=named, ncols=columns, labelspacing=0.25, columnspacing=1.2, **place)
    return math.ceil(len(named) / columns)


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


def legend(figure: Figure, handles: Sequence[Artist], wide: bool) -> None:
    """One legend below all panels."""
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4 if wide else 2))


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


def render(figure: Figure) -> dict[str, bytes]:
    """The figure as PDF, SVG and PNG, without dates and names of programs.

    The canvases are called directly: `Figure.savefig` would lay out and draw everything twice for each of them.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    png, pdf, svg = io.BytesIO(), io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})  # type: ignore[no-untyped-call]
    FigureCanvasPdf(figure).print_pdf(pdf, metadata={"CreationDate": None})  # type: ignore[no-untyped-call]
    FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return {"pdf": pdf.getvalue(), "svg": svg.getvalue(), "png": png.getvalue()}
