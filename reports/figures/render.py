"""Rendering of figures to files."""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure


def render(figure: Figure) -> dict[str, bytes]:
    """Returns the figure as PDF, SVG and PNG, without dates and program names, so that equal figures give equal bytes.

    The canvases are called directly, because `Figure.savefig` would lay out and draw everything twice for each of them.
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
