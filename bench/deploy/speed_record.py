"""One run's `speed.json` in the making: what is wanted, what is measured already, and what came of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench import environment
from bench.channels import plan as plans
from bench.errors import BenchError, MissingData
from bench.measure import speed
from bench.models.architecture import parse
from bench.records.files import write_json
from bench.records.folder import SCHEMA
from bench.records.home import Home
from bench.run import Run
from bench.training import execute

AUTO = "auto"


@dataclass(frozen=True)
class SpeedRequest:
    """What is to be measured: batches (numbers, or "auto": the dense model's best), precisions and modes."""

    batches: tuple[str, ...] = ("1", AUTO)
    precisions: tuple[str, ...] = tuple(speed.PRECISIONS)
    modes: tuple[str, ...] = speed.MODES
    seconds: float = 2.0
    device: str = "auto"
    again: bool = False

    def __post_init__(self) -> None:
        """Batches are numbers, or "auto"."""
        for batch in self.batches:
            if batch != AUTO and not batch.isdecimal():
                raise BenchError(f"batches are numbers or auto, but got {batch!r}; write --batch 1,auto")
        for precision, mode in itertools.product(self.precisions, self.modes):
            for batch in self.batches:
                speed.Setting(1 if batch == AUTO else int(batch), precision, mode)

    @property
    def settings(self) -> list[tuple[str, str, str]]:
        """Precision, mode and batch of each setting, in the order in which they are measured."""
        return list(itertools.product(self.precisions, self.modes, self.batches))


class Measured:
    """A run's `speed.json` in the making; it is on disk after each setting."""

    def __init__(
        self, home: Home, run_id: str, device: torch.device, request: SpeedRequest, searches: list[dict[str, Any]]
    ) -> None:
        self.path, self.request, self.searches = home.records.run(run_id) / "speed.json", request, searches
        record = home.records.record(run_id)
        if record is None or record["status"] != "finished":
            raise MissingData(f"speed is measured of a finished run, but {run_id} is none; run it first")
        run, self.done = Run.from_dict(record["run"]), 0
        self.pruned, plan = execute.load_model(self.path.parent)
        self.dense = _dense(run.model, plan)
        shape = (plan["channels"], plan["image_size"], plan["image_size"])
        self.bed = speed.Bed(shape, device, run.recipe.memory_format)
        self.facts = {
            "device": device_name(device),
            "memory_format": str(self.bed.memory_format).removeprefix("torch."),
        }
        self.value = home.records.speed(run_id) or {
            **{"schema": SCHEMA, "id": run_id, "dense": run.model, "image_size": plan["image_size"]},
            **{"smaller": _shapes(self.dense) != _shapes(self.pruned), "rows": [], "missing": [], "search": []},
            "speedup/theoretical": record["metrics"]["speedup/theoretical"],
        }

    def missing(self) -> list[tuple[str, str, str]]:
        """The settings that are not measured yet, or all of them where they are wanted again."""
        settings = self.request.settings
        return settings if self.request.again else [s for s in settings if not any(self._is(r, s) for r in self._rows)]

    @property
    def _rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.value["rows"]
        return rows

    def _is(self, row: dict[str, Any], setting: tuple[str, str, str]) -> bool:
        wanted = dict(zip(("precision", "mode", "wanted"), setting, strict=True))
        here = {"device": self.facts["device"], "threads": torch.get_num_threads()}
        return all(row[key] == value for key, value in (wanted | here).items())

    def add(self, precision: str, mode: str, wanted: str) -> None:
        """Measure one setting and write it down, or why it cannot be measured."""
        setting = (precision, mode, wanted)
        same = {**self.facts, "wanted": wanted}
        try:
            batch = self._best(precision) if wanted == AUTO else int(wanted)
            how = speed.Setting(batch, precision, mode)
            found = speed.compare(self.dense, self.pruned, self.bed, how, seconds=self.request.seconds)
            rows, lost = [{**row, **same} for row in found], list[dict[str, Any]]()
        except BenchError as error:
            what = {"precision": precision, "mode": mode, "threads": torch.get_num_threads(), **same}
            rows, lost = [], [{**what, "reason": str(error)}]
        for key, new in (("rows", rows), ("missing", lost)):
            self.value[key] = [row for row in self.value[key] if not self._is(row, setting)] + new
        write_json(self.path, self.value)
        self.done += 1

    def _best(self, precision: str) -> int:
        """The dense model's best batch here: searched for once, and the same for all runs that are compared with it."""
        here = {"device": self.facts["device"], "threads": torch.get_num_threads(), "precision": precision}
        same = {**here, "dense": self.value["dense"], "image_size": self.value["image_size"]}
        known = [s for s in self.searches if all(s[key] == value for key, value in same.items())]
        if not known:
            batch, tried = speed.best_batch(self.dense, self.bed, precision)
            known = [{**same, "batch": batch, "tried": tried}]
            self.searches += known
        found = {**here, "batch": known[0]["batch"], "tried": known[0]["tried"]}
        self.value["search"] = [s for s in self.value["search"] if any(s[k] != v for k, v in here.items())] + [found]
        return int(found["batch"])


def _dense(model: str, plan: dict[str, Any]) -> nn.Module:
    """The dense model that a run names, with arbitrary weights, for the classes and images of its plan."""
    name, arguments = parse(model)
    shape = {key: plan[key] for key in ("classes", "channels", "image_size")}
    return plans.rebuild({"model": name, "arguments": arguments, **shape}).eval()


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def device_name(device: torch.device) -> str:
    """The model of the GPU, or of the processor."""
    facts = environment.hardware(device)
    return str(facts.get("gpu") or facts["cpu"])


def known_searches(home: Home, runs: Iterable[str]) -> list[dict[str, Any]]:
    """The searches for a dense model's best batch that the files of some runs hold, each with that model."""
    files = [found for run_id in runs if (found := home.records.speed(run_id)) is not None]
    return [{**{key: f[key] for key in ("dense", "image_size")}, **s} for f in files for s in f["search"]]
