"""Loads the finished model of a run as a plain `torch.nn.Module`, from its plan and its safetensors.

Files are checked first: the weights' SHA-256 must be the one in the run's record, and the plan must describe a model.
"""

from __future__ import annotations

import code
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor, nn

from bench import layers, models
from bench.errors import BenchError, Corrupt, MissingData
from bench.models.architecture import frozen, spell
from bench.models.sizes import told
from bench.recipe import Recipe
from bench.records.home import Home
from bench.records.run_folder import RunFolder
from bench.records.run_record import FAILED, RunRecord
from bench.seeds import generator
from bench.training import execute


@dataclass(frozen=True)
class Loaded:
    """A finished model (fp32, on the CPU, in eval mode), its plan, and the run's record, if it has one."""

    folder: Path
    model: nn.Module
    plan: dict[str, Any]
    record: RunRecord | None

    @property
    def name(self) -> str:
        """The run's id, or its folder's name."""
        return self.folder.name if self.record is None else self.record.id

    @property
    def method(self) -> str:
        """The name of the run's method, or "no record"."""
        if self.record is None:
            return "no record"
        return self.record.run.method_name

    @property
    def architecture(self) -> str:
        """The architecture of the plan, before channels are removed."""
        return spell(self.plan["model"], {k: frozen(v) for k, v in self.plan.get("arguments", {}).items()})

    @property
    def dense(self) -> str:
        """The architecture of the dense model that the run names."""
        if self.record is None:
            return self.architecture
        return self.record.run.model

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image, (C, H, W)."""
        return self.plan["channels"], self.plan["image_size"], self.plan["image_size"]

    @property
    def batch(self) -> int:
        """The number of images in a batch of the run."""
        if self.record is None:
            return Recipe().batch
        return int(self.record.run.recipe["batch"])

    @property
    def parameters(self) -> tuple[int, int]:
        """The number of parameters, and of non-zero parameters."""
        return _count(self.model), sum(int(p.count_nonzero()) for p in self.model.parameters())

    @property
    def dense_parameters(self) -> int:
        """The number of parameters of the dense model."""
        return _count(self.empty(self.dense))

    def empty(self, model: str) -> nn.Module:
        """Returns an architecture for the same images and classes, on the meta device."""
        size, classes = self.plan["image_size"], self.plan["classes"]
        return models.empty(model, classes=classes, channels=self.plan["channels"], image_size=size)

    def images(self, count: int) -> Tensor:
        """Returns random images (count, C, H, W), standard normal, the same in each call."""
        return torch.randn(count, *self.shape, generator=generator("loading", count))

    def channels(self) -> tuple[int, int, int, int]:
        """Returns the numbers of output channels now and in the dense architecture, of layers, and of smaller layers."""
        whole = dict(self.empty(self.architecture).named_parameters())
        sizes = [(len(w), len(whole[name])) for name, w in layers.weights(self.model).items()]
        return sum(n for n, _ in sizes), sum(n for _, n in sizes), len(sizes), sum(n < of for n, of in sizes)


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def load(run: str | Path) -> nn.Module:
    """Returns the finished model of a run, given by its id (in `$BENCH_HOME`) or its folder; see `bench.load`."""
    return read(find(run)).model


def find(run: str | Path) -> Path:
    """Returns the folder of a run, given by its id or its folder.

    Raises:
        MissingData: there is no such run.
    """
    records = Home().records
    if str(run) in records.run_ids():
        return records.run(str(run))
    if not Path(run).expanduser().is_dir():
        raise MissingData(
            f"a run is named by its id or its folder, but {str(run)!r} is no folder and none of the "
            f"{len(records.run_ids())} runs in {records.path}; `bench run` prints the id, $BENCH_HOME says where runs are"
        )
    return Path(run).expanduser()


def read(folder: Path) -> Loaded:
    """Loads the model and the record in a run's folder.

    Raises:
        MissingData: the run has not finished, or its weights were not kept.
        Corrupt: the weights were changed, or the plan describes no model.
    """
    weights = folder / "model.safetensors"
    record = RunFolder(folder).record()
    _require_weights(folder, record)
    known = record is not None and record.weights_sha256
    if known and known != hashlib.sha256(weights.read_bytes()).hexdigest():
        raise Corrupt(
            f"weights must be those that the run wrote, but the SHA-256 of {weights} is another than in its record; "
            "fetch it again, or delete it and run the same command again"
        )
    plan = folder / "plan.json"
    try:
        model, made = execute.load_model(folder)
    except BenchError:
        raise
    except Exception as error:  # a wrong plan may raise any error
        raise _not_a_plan(plan, told(error)) from None
    for key in ("classes", "channels", "image_size"):
        if not isinstance(made[key], int) or made[key] < 1:
            raise _not_a_plan(plan, f"{key}={made[key]!r}")
    return Loaded(folder, model, made, record)


def _require_weights(folder: Path, record: RunRecord | None) -> None:
    if record is not None and record.status == FAILED:
        raise MissingData(f"a model comes from a run that finished, but {folder.name} failed: {record.reason}")
    if (folder / "plan.json").exists() and (folder / "model.safetensors").exists():
        return
    if record is None:
        raise MissingData(
            f"a model comes from a finished run, but {folder} holds none; go on with the command that started it"
        )
    raise MissingData(
        f"a model comes from a run whose weights were kept, but {folder.name} has none (a study's trials keep none); "
        "`bench run` with the same settings computes it again and keeps them"
    )


def _not_a_plan(path: Path, got: str) -> Corrupt:
    return Corrupt(f"{path} must describe the model of its weights, but got {got}; fetch it again, or run it again")


def check(loaded: Loaded) -> Tensor:
    """Runs one forward pass; returns the outputs, (1, classes).

    Raises:
        Corrupt: the model fails.
    """
    try:
        with torch.inference_mode():
            return loaded.model(loaded.images(1))  # type: ignore[no-any-return]
    except Exception as error:  # layers raise different errors for sizes that do not match
        raise _not_a_plan(loaded.folder / "plan.json", f"a model that fails: {told(error)}") from None


def show(console: Console, run: str, *, interactive: bool = False) -> None:
    """Prints a summary of a run's model and the lines that load it in Python; if interactive, opens a console with it."""
    loaded = read(find(run))
    outputs = check(loaded)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, text in _described(loaded, outputs):
        table.add_row(name, escape(text))
    console.print(f"run [bold]{escape(loaded.name)}[/]", soft_wrap=True)
    console.print(table)
    name = str(loaded.folder.absolute())
    if Home().records.run(loaded.name) == loaded.folder:
        name = loaded.name
    lines = f"from bench import load\nmodel = load({name!r})  # a plain torch.nn.Module, in eval mode, on the CPU"
    console.print(f"\n{escape(lines)}", soft_wrap=True)
    if interactive:
        values = {"model": loaded.model, "images": loaded.images(2), "torch": torch}
        code.interact(
            banner="model, images (two random ones) and torch are here; Ctrl-D ends", local=values, exitmsg=""
        )


def _described(loaded: Loaded, outputs: Tensor) -> list[tuple[str, str]]:
    (parameters, nonzero), dense = loaded.parameters, loaded.dense_parameters
    built, task = loaded.architecture, ""
    if loaded.dense != loaded.architecture:
        built += f", in place of {loaded.dense}"
    if loaded.record is not None:
        task = f", normalised as for {loaded.record.run.task}"
    left, channels, layers, smaller = loaded.channels()
    size = "x".join(map(str, loaded.shape))
    return [
        ("model", f"{built} ({loaded.method})"),
        ("parameters", f"{parameters:,} of {dense:,} ({100 * parameters / dense:.1f} %)"),
        ("of them zero", f"{parameters - nonzero:,} ({100 * (1 - nonzero / parameters):.1f} %)"),
        ("channels", f"{left:,} of {channels:,} outputs; {smaller} of {layers} layers have lost some"),
        ("input", f"float32, N x {size}{task}"),
        ("output", f"N x {outputs.shape[-1]}; a forward pass works"),
    ]
