"""The manual as HTML: an index of methods, a page for each and one of architectures, which ask nothing of any network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.record import write_text
from reports import matrix
from reports.typeset import spans, typeset

Method = Mapping[str, Any]
"""A method as plain data; `bench.manual.method` lists the keys."""


def render(
    methods: Sequence[Method],
    out: Path,
    architectures: Sequence[matrix.Row] = (),
    counts: Mapping[str, int] | None = None,
) -> Path:
    """Write ``index.html``, a page per method and one of architectures into ``out``, and return the index. The same methods
    and architectures (with their ``counts``), the same bytes."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"spans": spans}
    template = environment.get_template("manual.html")
    pages = [_page(method) for method in methods]
    for page in pages:
        write_text(out / f"{page['name']}.html", template.render(page=page, pages=pages, counts=None) + "\n")
    if architectures:
        matrix.render(architectures, counts or {}, environment, out)
    write_text(out / "index.html", template.render(page=None, pages=pages, counts=counts) + "\n")
    return out / "index.html"


def _page(method: Method) -> dict[str, Any]:
    title, blocks = typeset(method["document"])
    said = method["reconstruction"]
    said = f"{said[0].upper()}{said[1:].removesuffix('.')}." if said else ""
    return {
        **method,
        "reconstruction": said,
        "title": title,
        "blocks": blocks,
        "claims": [_claim(claim) for claim in method["claims"]],
    }


def _claim(claim: Method) -> dict[str, str]:
    """A claim as text; what it does not say is empty."""
    sparsity, note = claim.get("sparsity"), claim.get("note") or ""
    share = "" if sparsity is None else f"{100 * sparsity:.6g}"
    accuracy = f"{claim['accuracy']:.6g}"
    named = {key: str(claim[key]) for key in ("model", "task", "source")}
    return {**named, "sparsity": share, "accuracy": accuracy, "note": note}
