"""The manual: methods, prunable architectures and guides as plain data, handed to the renderer of the report's plug-in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from bench import registry
from bench.cli import collecting
from bench.deploy import matrix
from bench.deploy.prunability import Row
from bench.records.home import Home


def write(out: Path | None = None) -> Path:
    """Write an index, a page for each method and each guide, and one of architectures into ``out`` (default: docs in
    $BENCH_HOME); return the index."""
    own = Home().path / "docs"
    rows = matrix.stored(own / matrix.FILE)
    render = registry.load(registry.REPORTS, "report").manual
    index: Path = render(methods(), out or own, architectures(rows), matrix.counts(rows), guides())
    return index


def guides() -> dict[str, str]:
    """The guides of `bench/cli/guides` by name, as the renderer wants them: like docstrings, "## " before a heading."""
    folder = resources.files("bench.cli").joinpath("guides")
    found = sorted((path for path in folder.iterdir() if path.name.endswith(".md")), key=lambda path: path.name)
    return {path.name.removesuffix(".md"): path.read_text(encoding="utf-8").removeprefix("# ") for path in found}


def architectures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of the prunability matrix as plain data: the fields of `bench.deploy.prunability.Row`, its verdict ("full",
    "partly" or "not"), and whether it works."""
    return [{**asdict(row), "verdict": row.verdict, "works": row.works} for row in rows if row.model != matrix.NONE]


def methods() -> list[dict[str, Any]]:
    """The facts about every method, sorted by name; see `method`."""
    return [method(name) for name in registry.names(registry.METHODS)]


def method(name: str) -> dict[str, Any]:
    """The facts about a method as plain data: the fields of `bench.cli.facts.MethodFacts`."""
    return asdict(collecting.method(name))
