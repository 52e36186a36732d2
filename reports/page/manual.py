"""The manual as HTML that needs no network: an index, a page for each method, a page of architectures, and guides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.records.files import write_text
from reports.page import matrix
from reports.page.templates import templates
from reports.page.typeset import Block, spans, typeset

Method = Mapping[str, Any]
"""A method as plain data; `bench.cli.manual.method` lists the keys."""

NO_METHOD: Mapping[str, Any] = {
    **{"standing": "", "reconstruction": "", "error": "", "target": ""},
    **{"fields": [], "claims": []},
}
"""The keys of a method's page, for a page that is about none."""


def render(
    methods: Sequence[Method],
    out: Path,
    architectures: Sequence[matrix.Row] = (),
    counts: Mapping[str, int] | None = None,
    guides: Mapping[str, str] | None = None,
) -> Path:
    """Writes ``index.html``, and a page per method, of architectures, and per guide, into ``out``; returns the index.

    Equal methods, architectures (with their ``counts``) and guides (texts by name) give equal bytes.
    """
    environment = templates(spans=spans)
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
    claims = [_claim(claim) for claim in method["claims"]]
    said = _sentence(method["reconstruction"])
    return {**method, "reconstruction": said, "title": title, "blocks": blocks, "claims": claims}


def _sentence(text: str) -> str:
    """Text with an upper-case first letter and a full stop; "" stays."""
    if not text:
        return ""
    return f"{text[0].upper()}{text[1:].removesuffix('.')}."


def _guide(name: str, text: str) -> dict[str, Any]:
    """A guide as a page: a title, then parts with a heading each."""
    first, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    title, blocks = typeset(first)
    for part in parts:
        head, _, body = part.partition("\n")
        blocks += [Block("h", (spans(head),)), *typeset(f"\n{head}\n\n{body}")[1]]
    return {**NO_METHOD, "name": name, "title": title, "blocks": blocks}


def _claim(claim: Method) -> dict[str, str]:
    """A claim as text; unknown values are empty."""
    shown = {key: str(claim[key]) for key in ("model", "task", "source")}
    shown |= {"sparsity": "", "accuracy": f"{claim['accuracy']:.6g}", "note": claim.get("note") or ""}
    if claim.get("sparsity") is not None:
        shown["sparsity"] = f"{100 * claim['sparsity']:.6g}"
    return shown
