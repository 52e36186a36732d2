"""The manual: what each method says about itself, which architectures can lose channels, and guides, as plain data, handed to
the renderer of the report's plug-in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from bench import registry
from bench.deploy import matrix
from bench.deploy.prunability import Row
from bench.records.home import Home
from bench.run import describe
from bench.study.space import readable


def write(out: Path | None = None) -> Path:
    """Write a page for each method and each guide, one of architectures and an index into ``out`` (docs in the folder of
    results); return the index."""
    own = Home().path / "docs"
    rows = matrix.stored(own / matrix.FILE)
    render = registry.load(registry.REPORTS, "report").manual
    index: Path = render(methods(), out or own, architectures(rows), matrix.counts(rows), guides())
    return index


def guides() -> dict[str, str]:
    """The texts of `bench/guides` by their names: written as docstrings are, with "## " before a heading."""
    found = [path for path in resources.files("bench").joinpath("guides").iterdir() if path.name.endswith(".txt")]
    return {
        path.name.removesuffix(".txt"): path.read_text(encoding="utf-8") for path in sorted(found, key=lambda p: p.name)
    }


def architectures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of the prunability matrix as plain data: the fields of `bench.deploy.prunability.Row`, its verdict
    ("full", "partly" or "not"), and whether it works."""
    return [{**asdict(row), "verdict": row.verdict, "works": row.works} for row in rows if row.model != matrix.NONE]


def methods() -> list[dict[str, Any]]:
    """What is known about every method, by name; see `method`."""
    return [method(name) for name in registry.names(registry.METHODS)]


def method(name: str) -> dict[str, Any]:
    """A method as plain data.

    The keys are name, document (the docstring), standing ("faithful", "reconstruction", or "no paper" where the docstring
    names none), reconstruction (what in it is ours, or ""), target (the field that holds the wanted sparsity, or ""), fields
    (a dict each: name, default, range, help, tuned), claims (`bench.claims.Claim` as dicts), and error (why the module
    cannot be used here, or "").
    """
    found: dict[str, Any] = {"name": name, "document": "", "standing": "", "reconstruction": "", "target": ""}
    found |= {"fields": [], "claims": [], "error": ""}
    try:
        module = registry.load(registry.METHODS, name)
    except ImportError as error:
        return {**found, "error": str(error)}
    document, cls, space = module.__doc__ or "", module.METHOD, module.SPACE
    standing = "reconstruction" if cls.reconstruction else "faithful" if "arXiv:" in document else "no paper"
    fields = [
        {
            **{"name": field, "default": str(default), "range": rule, "help": text},
            "tuned": readable(space[field]) if field in space else "",
        }
        for field, default, rule, text in describe(cls())
    ]
    return {
        **found,
        **{
            "document": document,
            "standing": standing,
            "reconstruction": cls.reconstruction,
            "target": cls.target or "",
        },
        **{"fields": fields, "claims": [claim.to_dict() for claim in module.CLAIMS]},
    }
