"""Sparse kernels that are really faster, where they are: `bench speed --two-four`, wins and losses both."""

from __future__ import annotations

import itertools
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import environment
from bench.deploy.speed import alone
from bench.deploy.speed_record import device_name
from bench.errors import BenchError
from bench.measure import semistructured
from bench.records.files import write_json
from bench.records.home import Home
from bench.records.run_record import SCHEMA


def two_four(console: Console, device_text: str, seconds: float) -> None:
    """Time 2:4 kernels against dense ones for each layer shape, print what came of it, and write `semistructured.json`.

    Raises:
        BenchError: no GPU with such kernels here.
    """
    home, device = Home(), environment.resolve_device(device_text)
    semistructured.require(device)
    facts = {"schema": SCHEMA, "device": device_name(device), "versions": environment.versions()}
    rows, lost = list[dict[str, Any]](), list[dict[str, Any]]()
    work = list(itertools.product(semistructured.SHAPES, semistructured.DTYPES))
    with alone(home), console.status("2:4 kernels") as status:
        for done, (layer, dtype) in enumerate(work):
            status.update(f"2:4 kernels, {done} of {len(work)}: {layer.name}, {layer.tokens} tokens, {dtype}")
            try:
                rows.append(semistructured.compare(layer, device, dtype, seconds=seconds))
            except BenchError as error:
                lost.append({**vars(layer), "dtype": dtype, "reason": str(error)})
            write_json(home.path / "semistructured.json", {**facts, "rows": rows, "missing": lost})
    console.print(table(rows))
    for row in lost:
        what = f"{row['name']} ({row['inputs']} to {row['outputs']}, {row['tokens']} tokens, {row['dtype']})"
        console.print(f"not measured: {escape(what)}: {escape(row['reason'])}", soft_wrap=True)
    console.print(f"written to {home.path / 'semistructured.json'}", soft_wrap=True)


def table(rows: list[dict[str, Any]]) -> Table:
    """The rows of `bench.measure.semistructured.compare`, for people."""
    caption = "dense/2:4: time of the dense layer over that of the 2:4 one, median over rounds (quartiles)"
    made = Table("layer", "in", "out", "tokens", "type", "dense ms", "2:4 ms", "dense/2:4", "", caption=caption)
    for row in rows:
        times = [f"{row[key]['median_ms']:.4g}" for key in ("dense", "sparse")]
        ratio = f"{row['ratio']:.2f} ({row['ratio_q1']:.2f} to {row['ratio_q3']:.2f})"
        what = (row["layer"], *(str(row[key]) for key in ("inputs", "outputs", "tokens", "dtype")))
        made.add_row(*what, *times, ratio, verdict(row))
    return made


def verdict(row: dict[str, Any]) -> str:
    """A win or a loss only where at least three quarters of the rounds say so."""
    return "win" if row["ratio_q1"] > 1 else "loss" if row["ratio_q3"] < 1 else "unclear"
