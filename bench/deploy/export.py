"""Export of a finished model: ONNX and `torch.export` files that compute what it computes, and their latency deployed.

    <out>/model.onnx    for ONNX Runtime; with more than 2 GB its weights are beside it, in model.onnx.data
          model.pt2     for `torch.export.load`
          export.json   what was exported, with what; files, parity, latency

Both files take images (N, C, H, W) in float32, any N where the model can be followed for any, and give the outputs that
the model gives. Nothing is written before that was seen on the files themselves.
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
from bench.deploy.onnx_runtime import Session
from bench.errors import BenchError, one_of
from bench.models.architecture import parse
from bench.models.sizes import told
from bench.records.files import write_json
from bench.records.home import Home
from bench.seeds import generator

FORMATS = {"onnx": "model.onnx", "pt2": "model.pt2"}
NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4
"""The largest difference of an output from the model's, relative to the model's largest output; of fp32's rounding."""

TRIED = 16  # images in the larger batch that parity is checked on


def export(folder: Path, out: Path, formats: Sequence[str] = tuple(FORMATS), *, seconds: float = 2.0) -> dict[str, Any]:
    """Export the model in a run's folder to the folder ``out``; returns what export.json holds.

    ``seconds`` is about how long one pair of latencies is timed.

    Raises:
        MissingData, Corrupt: there is no model, or it is not what was written.
        BenchError: a package is missing, the model cannot be exported, or a file does not compute the same. Then no file
            is written.
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
    """Write the files that were asked for to ``made``, what they are compared with to ``aside``, and measure them."""
    program, dynamic = trace(loaded.model, loaded.images, loaded.name)
    (parameters, nonzero), dense = loaded.parameters, loaded.dense_parameters
    found: dict[str, Any] = {"schema": 1, "run": loaded.name, "method": loaded.method, "model": loaded.architecture}
    found |= {"input": [None if dynamic else 1, *loaded.shape], "classes": loaded.plan["classes"]}
    found |= {"parameters": parameters, "parameters_nonzero": nonzero, "opset": None, "parity": {}, "latency": []}
    found |= {"dense": {"model": loaded.dense, "parameters": dense}, "threads": torch.get_num_threads()}
    batches = (1, TRIED) if dynamic else (1,)
    if "pt2" in formats:
        torch.export.save(program, made / FORMATS["pt2"])
        module = torch.export.load(made / FORMATS["pt2"]).module()
        found["parity"]["pt2"] = _same(loaded, "pt2", module, batches)
    if "onnx" in formats:
        path = made / FORMATS["onnx"]
        found["opset"] = onnx_runtime.write(program, path, dynamic, loaded.name)
        session = onnx_runtime.session(path, found["threads"])
        found["parity"]["onnx"] = _same(loaded, "onnx", session, batches)
        found["dense"]["bytes"], found["latency"] = _latency(loaded, session, dynamic, aside, seconds)
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
    """The graph of a model in eval mode, and whether it takes batches of any size; else it takes single images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program, dynamic = torch.export.export(model, (images(2),), dynamic_shapes=({0: Dim("batch")},)), True
        except Exception:  # a model that is not made to be followed raises whatever it raises
            try:
                program, dynamic = torch.export.export(model, (images(1),)), False
            except Exception as error:
                raise BenchError(
                    f"a model is exported by following its code, but that of {name} cannot be ({told(error)}); "
                    "`from bench import load` hands it out as it is"
                ) from None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine, which are no one else's
    return program, dynamic


def _same(loaded: Loaded, form: str, run: Session, batches: Sequence[int]) -> dict[str, Any]:
    """How far what was exported is from the model, on batches of these sizes; refused where that is too far."""
    worst, agreeing = 0.0, 0
    with torch.no_grad():
        for count in batches:
            images = loaded.images(count)
            wanted, got = loaded.model(images), run(images)
            worst = max(worst, difference(wanted, got), key=lambda value: (value != value, value))
            agreeing += int((wanted.argmax(-1) == got.argmax(-1)).sum())
    if not worst <= TOLERANCE:
        raise BenchError(
            f"an exported model must compute what the model does (within {TOLERANCE:g} of the largest output), but "
            f"{FORMATS[form]} of {loaded.name} is {worst:.2g} off; nothing was written, try the other format"
        )
    return {"difference": worst, "tolerance": TOLERANCE, "images": sum(batches), "same_top1": agreeing}


def difference(wanted: Tensor, got: Tensor) -> float:
    """The largest absolute difference relative to the largest output; NaN where any output is no number."""
    largest = wanted.abs().max().clamp_min(torch.finfo(wanted.dtype).tiny)
    return float((got - wanted).abs().max() / largest)


def _latency(
    loaded: Loaded, ours: Session, dynamic: bool, aside: Path, seconds: float
) -> tuple[int | None, list[dict[str, Any]]]:
    """The dense model's bytes in ONNX, and the latencies of both for one image and for the run's batch; without the dense
    one where ours has all of its shapes, or where that cannot be exported for the same batches."""
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
    batches = sorted({1, loaded.batch}) if dynamic else [1]
    return size, onnx_runtime.latencies(ours, dense, [loaded.images(n) for n in batches], seconds)


@torch.no_grad()
def _dense(loaded: Loaded) -> nn.Module:
    """The dense model, with arbitrary weights. Its biases and statistics are no zeros, as those of a fresh model are:
    those would be optimised away."""
    name, arguments = parse(loaded.dense)
    model = plans.rebuild({**loaded.plan, "model": name, "arguments": arguments, "kept": {}}).eval()
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point() and tensor.dim() <= 1:
            tensor.add_(0.1 + 0.1 * torch.rand(tensor.shape, generator=generator("export", "dense")))
    return model


def command(console: Console, run: str, out: Path | None, formats: Sequence[str], seconds: float) -> None:
    """Export a run's model, by default to a folder of its own among the results, and print what came of it."""
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
        parity = found["parity"].get(name.rpartition(".")[2])
        told = f", outputs within {parity['difference']:.1g} of the model's" if parity else ""
        table.add_row(name, f"{file['bytes'] / 1e6:.3f} MB{told}")
    if dense.get("bytes"):
        table.add_row("dense as ONNX", f"{dense['bytes'] / 1e6:.3f} MB")
    console.print(f"export of run [bold]{escape(str(found['run']))}[/]", soft_wrap=True)
    console.print(table)
    if found["latency"]:
        console.print(_latencies(found["latency"]))
    zeros = parameters - found["parameters_nonzero"]
    if zeros and parameters == dense["parameters"]:
        console.print(
            f"its {zeros:,} zeros are masked, not removed: it is no smaller than the dense one, and no faster",
            soft_wrap=True,
        )
    if found["input"][0] is not None:
        console.print("its code cannot be followed for any batch size: it takes single images", soft_wrap=True)


def _latencies(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("ONNX Runtime", "dense ms (quartiles)", "model ms", "times as fast", box=None)
    for row in rows:
        speedup = [row.get(key) for key in ("speedup", "speedup_q1", "speedup_q3")]
        dense = [row.get("dense", {}).get(key) for key in ("median_ms", "q1_ms", "q3_ms")]
        ours = [row["model"][key] for key in ("median_ms", "q1_ms", "q3_ms")]
        table.add_row(f"batch {row['batch']}", *(_quartiles(values) for values in (dense, ours, speedup)))
    return table


def _quartiles(values: Sequence[float | None]) -> str:
    median, low, high = (f"{v:.3g}" if v is not None else "" for v in values)
    return f"{median} ({low}-{high})" if median else ""
