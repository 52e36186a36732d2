"""What can be said about pages and figures by looking at them: addresses, and whether text can be read."""

from __future__ import annotations

import itertools
from html.parser import HTMLParser

from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text

from reports.figures.catalog import Figure
from reports.figures.style import looks, note, paper


class Page(HTMLParser):
    """Collects tags and where their addresses point."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]


def drawn(figure: Figure, wide: bool = True) -> Canvas:
    names = sorted({*figure.table["method"], "gradual", "sap"})
    with paper():
        canvas = figure.draw(looks(names), wide)
        note(canvas, "† reconstruction")
        canvas.draw_without_rendering()
    return canvas


def axis_labels(axis: Axis) -> list[Text]:
    """The labels of an axis that are seen."""
    low, high = sorted(axis.get_view_interval())
    return [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high and t.label1.get_visible()]


def assert_legible(canvas: Canvas) -> None:
    """All text lies inside the figure, and no label of an axis or title of a panel covers the next one."""
    renderer = FigureCanvasAgg(canvas).get_renderer()
    axes = [a for a in canvas.axes if a.axison]
    rows = [axis_labels(axis) for a in axes for axis in (a.xaxis, a.yaxis)]
    rows.append([a._left_title for a in axes])  # type: ignore[attr-defined]
    names = [t for legend in (*canvas.legends, *(a.get_legend() for a in axes)) if legend for t in legend.get_texts()]
    for row in [*rows, names, [a.xaxis.label for a in axes], [a.yaxis.label for a in axes]]:
        shown = [t for t in row if t.get_text()]
        boxes = [t.get_window_extent(renderer) for t in shown]
        for text, box in zip(shown, boxes, strict=True):
            inside = box.x0 > -1 and box.y0 > -1 and box.x1 < canvas.bbox.x1 + 1 and box.y1 < canvas.bbox.y1 + 1
            assert inside, f"{text.get_text()!r} leaves the figure"
        for (one, left), (other, right) in itertools.pairwise(zip(shown, boxes, strict=True)):
            assert not left.padded(-2).overlaps(right.padded(-2)), f"{one.get_text()!r} covers {other.get_text()!r}"
