"""The manual as HTML, which asks nothing of any network: an index, a page for each method, one of architectures, and guides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.records.files import write_text
from reports.page import matrix
from reports.page.typeset import Block, spans, typeset

Method = Mapping[str, Any]
"""A method as plain data; `bench.cli.manual.method` lists the keys."""


def render(
    methods: Sequence[Method],
    out: Path,
    architectures: Sequence[matrix.Row] = (),
    counts: Mapping[str, int] | None = None,
    guides: Mapping[str, str] | None = None,
) -> Path:
    """Write ``index.html``, a page per method, one of architectures and one per guide into ``out``, and return the index. The
    same methods, architectures (with their ``counts``) and guides (texts by name), the same bytes."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"spans": spans}
    template = environment.get_template("manual.html")
    pages = [_page(method) for method in methods]
    texts = [_guide(name, text) for name, text in (guides or {}).items()]
    for page in (*pages, *texts):
        write_text(out / f"{page['name']}.html", template.render(page=page, pages=pages, counts=None, texts=()) + "\n")
    if architectures:
        matrix.render(architectures, counts or {}, environment, out)
    write_text(out / "index.html", template.render(page=None, pages=pages, counts=counts, texts=texts) + "\n")
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


def _guide(name: str, text: str) -> dict[str, Any]:
    """A guide as a page: a title, then parts with a heading each."""
    first, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    title, blocks = typeset(first)
    for part in parts:
        head, _, body = part.partition("\n")
        blocks += [Block("h", (spans(head),)), *typeset(f"\n{head}\n\n{body}")[1]]
    nothing: dict[str, Any] = {
        "standing": "",
        "reconstruction": "",
        "error": "",
        "fields": [],
        "claims": [],
        "target": "",
    }
    return {**nothing, "name": name, "title": title, "blocks": blocks}


def _claim(claim: Method) -> dict[str, str]:
    """A claim as text; what it does not say is empty."""
    sparsity, note = claim.get("sparsity"), claim.get("note") or ""
    share = "" if sparsity is None else f"{100 * sparsity:.6g}"
    accuracy = f"{claim['accuracy']:.6g}"
    named = {key: str(claim[key]) for key in ("model", "task", "source")}
    return {**named, "sparsity": share, "accuracy": accuracy, "note": note}
