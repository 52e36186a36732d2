"""The page of the prunability matrix: which architectures can lose channels, how many, and how this was verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment

from bench.records.files import write_text

NAME = "prunability.html"
TITLES = {"full": "In full", "partly": "Partly", "not": "Not"}

Row = Mapping[str, Any]
"""A row as plain data; `bench.cli.manual.architectures` lists the keys."""


def render(rows: Sequence[Row], counts: Mapping[str, int], environment: Environment, out: Path) -> None:
    """Writes the page into ``out``. Equal rows give equal bytes."""
    parts = [(title, [_shown(r) for r in rows if r["verdict"] == verdict]) for verdict, title in TITLES.items()]
    versions = sorted({row["versions"] for row in rows})
    page = environment.get_template("matrix.html").render(
        counts=counts, parts=parts, versions=versions, sizes=sorted({r["image_size"] for r in rows if r["image_size"]})
    )
    write_text(out / NAME, page + "\n")


def _shown(row: Row) -> dict[str, str]:
    """A row as text; missing values are dashes."""
    verified = parameters = "–"
    if row["groups"]:
        verified = f"{row['groups'] - row['inexact']} of {row['groups']}"
    if row["parameters"]:
        parameters = f"{row['parameters'] / 1e6:.2f}"
    shares = {key: f"{100 * row[key]:.1f}" for key in ("can_leave", "tied", "weights_left", "params_left", "macs_left")}
    return {
        **{key: str(row[key]) for key in ("model", "reason")},
        **shares,
        "module": row["module"] or row["model"],
        "parameters": parameters,
        "pixels": str(row["image_size"] or "–"),
        "works": "yes" if row["works"] else "no",
        "verified": verified,
    }
