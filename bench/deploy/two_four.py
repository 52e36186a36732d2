"""2:4 kernels timed beside dense ones for each layer shape: `bench speed --two-four`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench import environment
from bench.deploy.speed import timing_lock
from bench.deploy.speed_record import device_name
from bench.errors import BenchError
from bench.measure import semistructured
from bench.measure.semistructured import LayerSpeed
from bench.measure.turns import Ratio
from bench.records.files import write_json
from bench.records.home import Home
from bench.records.run_record import SCHEMA


def two_four(console: Console, device_text: str, seconds: float) -> None:
    """Times 2:4 kernels and dense ones for each layer shape, prints a table, and writes `semistructured.json`.

    Raises:
        BenchError: there is no GPU with 2:4 kernels here.
    """
    home, device = Home(), environment.resolve_device(device_text)
    semistructured.require(device)
    facts = {"schema": SCHEMA, "device": device_name(device), "versions": environment.versions()}
    rows, lost = list[LayerSpeed](), list[dict[str, Any]]()
    work = list(itertools.product(semistructured.SHAPES, semistructured.DTYPES))
    with timing_lock(home), console.status("2:4 kernels") as status:
        for done, (layer, dtype) in enumerate(work):
            status.update(f"2:4 kernels, {done} of {len(work)}: {layer.name}, {layer.tokens} tokens, {dtype}")
            try:
                rows.append(semistructured.compare(layer, device, dtype, seconds=seconds))
            except BenchError as error:
                lost.append({**vars(layer), "dtype": dtype, "reason": str(error)})
            made = {**facts, "rows": [row.to_json() for row in rows], "missing": lost}
            write_json(home.path / "semistructured.json", made)
    console.print(table(rows))
    for row in lost:
        what = f"{row['name']} ({row['inputs']} to {row['outputs']}, {row['tokens']} tokens, {row['dtype']})"
        console.print(f"not measured: {escape(what)}: {escape(row['reason'])}", soft_wrap=True)
    console.print(f"written to {home.path / 'semistructured.json'}", soft_wrap=True)


def table(rows: Sequence[LayerSpeed]) -> Table:
    """Returns the table that the command prints."""
    caption = "dense/2:4: time of the dense layer over that of the 2:4 one, median over rounds (quartiles)"
    made = Table("layer", "in", "out", "tokens", "type", "dense ms", "2:4 ms", "dense/2:4", "", caption=caption)
    for row in rows:
        layer, found = row.layer, row.ratio
        what = (layer.name, str(layer.inputs), str(layer.outputs), str(layer.tokens), row.dtype)
        times = [f"{timing.median_ms:.4g}" for timing in (row.dense, row.sparse)]
        ratio = f"{found.ratio:.2f} ({found.ratio_q1:.2f} to {found.ratio_q3:.2f})"
        made.add_row(*what, *times, ratio, verdict(found))
    return made


def verdict(ratio: Ratio) -> str:
    """Returns "win" or "loss" where at least three quarters of the rounds agree, else "unclear"."""
    if ratio.ratio_q1 > 1:
        return "win"
    if ratio.ratio_q3 < 1:
        return "loss"
    return "unclear"
