"""Export of a finished model as ONNX and `torch.export` files, with their parity and latency.

    <out>/model.onnx    for ONNX Runtime; weights of more than 2 GB lie beside it, in model.onnx.data
          model.pt2     for `torch.export.load`
          export.json   the run, the files, parity, latency, versions

Both files take images (N, C, H, W) in float32 (any N where the model can be traced for any batch size) and return the model's
outputs. Files are written to ``out`` only after their outputs were compared with the model's.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from bench import environment
from bench.channels import plan as plans
from bench.deploy import load, onnx_runtime
from bench.deploy.load import Loaded
from bench.deploy.onnx_runtime import Latency, Session
from bench.errors import BenchError, one_of
from bench.models.architecture import parse
from bench.models.sizes import told
from bench.records.files import write_json
from bench.records.home import Home
from bench.seeds import generator

FORMATS = {"onnx": "model.onnx", "pt2": "model.pt2"}
NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4
"""The largest allowed difference between outputs, relative to the model's largest output; fp32 rounding stays below it."""

TRIED = 16  # images in the larger of the batches on which parity is checked


def export(folder: Path, out: Path, formats: Sequence[str] = tuple(FORMATS), *, seconds: float = 2.0) -> dict[str, Any]:
    """Exports the model in a run's folder to the folder ``out``; returns the content of export.json.

    One pair of latencies is timed for about ``seconds``.

    Raises:
        MissingData, Corrupt: there is no model, or its files were changed.
        BenchError: a package is missing, the model cannot be exported, or a file's outputs differ. No file is written then.
    """
    _require_packages(formats)
    loaded = load.read(folder)
    load.check(loaded)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        made, aside = Path(temporary) / "made", Path(temporary) / "aside"
        made.mkdir()
        aside.mkdir()
        found = _made(loaded, made, aside, formats, seconds)
        out.mkdir(exist_ok=True)
        for file in made.iterdir():
            file.replace(out / file.name)
        write_json(out / "export.json", found)
    return found


def _require_packages(formats: Sequence[str]) -> None:
    for name in formats:
        if name not in FORMATS:
            raise one_of("format", name, FORMATS)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if "onnx" in formats and missing:
        raise BenchError(
            f"ONNX needs {', '.join(NEEDED)}, but {' and '.join(missing)} cannot be imported; "
            "pip install 'prunebench[export]', or leave it out with --formats pt2"
        )


def _made(loaded: Loaded, made: Path, aside: Path, formats: Sequence[str], seconds: float) -> dict[str, Any]:
    """Writes the requested files to ``made`` and the dense model's to ``aside``, and measures them."""
    program, dynamic = trace(loaded.model, loaded.images, loaded.name)
    (parameters, nonzero), dense = loaded.parameters, loaded.dense_parameters
    batch: int | None = 1
    batches = [1]
    if dynamic:
        batch, batches = None, [1, TRIED]
    found: dict[str, Any] = {"schema": 1, "run": loaded.name, "method": loaded.method, "model": loaded.architecture}
    found |= {"input": [batch, *loaded.shape], "classes": loaded.plan["classes"]}
    found |= {"parameters": parameters, "parameters_nonzero": nonzero, "opset": None, "parity": {}, "latency": []}
    found |= {"dense": {"model": loaded.dense, "parameters": dense}, "threads": torch.get_num_threads()}
    if "pt2" in formats:
        torch.export.save(program, made / FORMATS["pt2"])
        module = torch.export.load(made / FORMATS["pt2"]).module()
        found["parity"]["pt2"] = _same(loaded, "pt2", module, batches)
    if "onnx" in formats:
        path = made / FORMATS["onnx"]
        found["opset"] = onnx_runtime.write(program, path, dynamic, loaded.name)
        session = onnx_runtime.session(path, found["threads"])
        found["parity"]["onnx"] = _same(loaded, "onnx", session, batches)
        found["dense"]["bytes"], latencies = _latency(loaded, session, dynamic, aside, seconds)
        found["latency"] = [latency.to_json() for latency in latencies]
    found["files"] = {
        file.name: {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in sorted(made.iterdir())
    }
    versions = {name: importlib.metadata.version(name) for name in NEEDED if find_spec(name)}
    return found | {
        "versions": environment.versions() | versions,
        "hardware": environment.hardware(torch.device("cpu")),
    }


def trace(model: nn.Module, images: Callable[[int], Tensor], name: str) -> tuple[ExportedProgram, bool]:
    """Traces a model in eval mode.

    Returns:
        The graph, and whether it takes batches of any size; if not, it takes single images.

    Raises:
        BenchError: the model cannot be traced.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program, dynamic = torch.export.export(model, (images(2),), dynamic_shapes=({0: Dim("batch")},)), True
        except Exception:  # a model that cannot be traced may raise any error
            try:
                program, dynamic = torch.export.export(model, (images(1),)), False
            except Exception as error:
                raise BenchError(
                    f"an exported model must be traceable by torch.export, but that of {name} is not ({told(error)}); "
                    "`from bench import load` gives it in Python"
                ) from None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds local paths
    return program, dynamic


def _same(loaded: Loaded, form: str, run: Session, batches: Sequence[int]) -> dict[str, Any]:
    """Compares an exported model with the model on batches of some sizes; returns the parity in export.json.

    Raises:
        BenchError: the outputs differ by more than the tolerance.
    """
    worst, agreeing = 0.0, 0
    with torch.no_grad():
        for count in batches:
            images = loaded.images(count)
            wanted, got = loaded.model(images), run(images)
            worst = max(worst, difference(wanted, got), key=lambda value: (value != value, value))
            agreeing += int((wanted.argmax(-1) == got.argmax(-1)).sum())
    if not worst <= TOLERANCE:
        raise BenchError(
            f"an exported model must have the model's outputs (within {TOLERANCE:g} of the largest one), but "
            f"{FORMATS[form]} of {loaded.name} differs by {worst:.2g}; nothing was written, try the other format"
        )
    return {"difference": worst, "tolerance": TOLERANCE, "images": sum(batches), "same_top1": agreeing}


def difference(wanted: Tensor, got: Tensor) -> float:
    """Returns the largest absolute difference relative to the largest output; NaN where any output is NaN."""
    largest = wanted.abs().max().clamp_min(torch.finfo(wanted.dtype).tiny)
    return float((got - wanted).abs().max() / largest)


def _latency(
    loaded: Loaded, ours: Session, dynamic: bool, aside: Path, seconds: float
) -> tuple[int | None, list[Latency]]:
    """Returns the dense model's bytes in ONNX, and the latencies of both models for one image and for the run's batch.

    The dense model is not measured where the finished one has the same shapes, or where it cannot be exported for the same
    batches.
    """
    size, dense = None, None
    if loaded.parameters[0] != loaded.dense_parameters:
        try:
            program, same = trace(_dense(loaded), loaded.images, loaded.dense)
            onnx_runtime.write(program, aside / "dense.onnx", same, loaded.dense)
        except BenchError:
            same = not dynamic
        if same == dynamic:
            size = sum(file.stat().st_size for file in aside.iterdir())
            dense = onnx_runtime.session(aside / "dense.onnx", torch.get_num_threads())
    batches = {1}
    if dynamic:
        batches.add(loaded.batch)
    return size, onnx_runtime.latencies(ours, dense, [loaded.images(n) for n in sorted(batches)], seconds)


@torch.no_grad()
def _dense(loaded: Loaded) -> nn.Module:
    """Builds the dense model with arbitrary weights. Biases and statistics are not zero, because ONNX Runtime would optimise
    zeros away."""
    name, arguments = parse(loaded.dense)
    model = plans.rebuild({**loaded.plan, "model": name, "arguments": arguments, "kept": {}}).eval()
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point() and tensor.dim() <= 1:
            tensor.add_(0.1 + 0.1 * torch.rand(tensor.shape, generator=generator("export", "dense")))
    return model


def command(console: Console, run: str, out: Path | None, formats: Sequence[str], seconds: float) -> None:
    """Exports a run's model, by default to ``exports/<run>`` in the home, and prints a summary."""
    _require_packages(formats)
    folder, home = load.find(run), Home()
    out = out or home.path / "exports" / folder.absolute().name
    with console.status("exporting"):
        found = export(folder, out, formats, seconds=seconds)
    _show(console, found)
    console.print(f"export: {out / 'export.json'}", soft_wrap=True)


def _show(console: Console, found: Mapping[str, Any]) -> None:
    dense, parameters = found["dense"], found["parameters"]
    shape = "x".join(str(n or "N") for n in found["input"])
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("model", escape(f"{found['model']} ({found['method']}), images {shape}"))
    table.add_row("parameters", f"{parameters:,} of {dense['parameters']:,}")
    for name, file in found["files"].items():
        text = f"{file['bytes'] / 1e6:.3f} MB"
        parity = found["parity"].get(name.rpartition(".")[2])
        if parity:
            text += f", outputs within {parity['difference']:.1g} of the model's"
        table.add_row(name, text)
    if dense.get("bytes"):
        table.add_row("dense as ONNX", f"{dense['bytes'] / 1e6:.3f} MB")
    console.print(f"export of run [bold]{escape(str(found['run']))}[/]", soft_wrap=True)
    console.print(table)
    if found["latency"]:
        console.print(_latencies(found["latency"]))
    zeros = parameters - found["parameters_nonzero"]
    if zeros and parameters == dense["parameters"]:
        console.print(
            f"its {zeros:,} zeros are masked, not removed: it is neither smaller nor faster than the dense model",
            soft_wrap=True,
        )
    if found["input"][0] is not None:
        console.print("it cannot be traced for any batch size: it takes single images", soft_wrap=True)


def _latencies(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("ONNX Runtime", "dense ms (quartiles)", "model ms", "times as fast", box=None)
    for row in rows:
        speedup = [row.get(key) for key in ("speedup", "speedup_q1", "speedup_q3")]
        dense = [row.get("dense", {}).get(key) for key in ("median_ms", "q1_ms", "q3_ms")]
        ours = [row["model"][key] for key in ("median_ms", "q1_ms", "q3_ms")]
        table.add_row(f"batch {row['batch']}", *(_quartiles(values) for values in (dense, ours, speedup)))
    return table


def _quartiles(values: Sequence[float | None]) -> str:
    if None in values:
        return ""
    median, low, high = (f"{value:.3g}" for value in values)
    return f"{median} ({low}-{high})"
