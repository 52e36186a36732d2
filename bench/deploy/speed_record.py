"""Measures the speed of one run's model, setting by setting, and writes its `speed.json`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bench import environment
from bench.channels import plan as plans
from bench.errors import BenchError, MissingData
from bench.measure import speed
from bench.models.architecture import parse
from bench.records.home import Home
from bench.records.reading import write
from bench.records.run_record import SCHEMA
from bench.records.speed_record import BatchSearch, SpeedMissing, SpeedRecord, SpeedRow
from bench.run import Run
from bench.training import execute

AUTO = "auto"


@dataclass(frozen=True)
class SpeedRequest:
    """The settings to measure: batches (numbers, or "auto" for the dense model's best), precisions and modes."""

    batches: tuple[str, ...] = ("1", AUTO)
    precisions: tuple[str, ...] = tuple(speed.PRECISIONS)
    modes: tuple[str, ...] = speed.MODES
    seconds: float = 2.0
    device: str = "auto"
    again: bool = False

    def __post_init__(self) -> None:
        """Checks batches, precisions and modes."""
        for batch in self.batches:
            if batch != AUTO and not batch.isdecimal():
                raise BenchError(f"batches are numbers or auto, but got {batch!r}; write --batch 1,auto")
        numbers = [int(batch) for batch in self.batches if batch != AUTO] or [1]
        for precision, mode, number in itertools.product(self.precisions, self.modes, numbers):
            speed.Setting(number, precision, mode)

    @property
    def settings(self) -> list[tuple[str, str, str]]:
        """The precision, mode and batch of each setting, in the order of measurement."""
        return list(itertools.product(self.precisions, self.modes, self.batches))


@dataclass(frozen=True)
class KnownSearch:
    """A finished search for a dense model's best batch, with that model and its input size."""

    dense: str
    image_size: int
    search: BatchSearch


class Measured:
    """The measurement of one run's speed; `speed.json` is written after each setting.

    Raises:
        MissingData: the run has not finished.
    """

    def __init__(
        self, home: Home, run_id: str, device: torch.device, request: SpeedRequest, searches: list[KnownSearch]
    ) -> None:
        self.path, self.request, self.searches = home.records.run(run_id) / "speed.json", request, searches
        record = home.records.record(run_id)
        if record is None or not record.finished:
            raise MissingData(f"speed is measured of a finished run, but {run_id} is none; run it first")
        run, self.done = Run.from_dict(record.run.to_json()), 0
        self.pruned, plan = execute.load_model(self.path.parent)
        self.dense = _dense(run.model, plan)
        shape = (plan["channels"], plan["image_size"], plan["image_size"])
        self.bed = speed.Bed(shape, device, run.recipe.memory_format)
        self.device, self.memory_format = device_name(device), str(self.bed.memory_format).removeprefix("torch.")
        self.value = home.records.speed(run_id) or SpeedRecord(
            schema=SCHEMA,
            id=run_id,
            dense=run.model,
            image_size=plan["image_size"],
            smaller=_shapes(self.dense) != _shapes(self.pruned),
            speedup_theoretical=record.metrics.speedup_theoretical,
        )

    def missing(self) -> list[tuple[str, str, str]]:
        """Returns the settings without a row, or all settings if the request says "again"."""
        settings, rows = self.request.settings, self.value.rows
        if self.request.again:
            return settings
        return [setting for setting in settings if not any(self._is(row, setting) for row in rows)]

    def _is(self, row: SpeedRow | SpeedMissing, setting: tuple[str, str, str]) -> bool:
        """Returns whether a row has this setting, on this device and with this number of threads."""
        here = (row.device, row.threads) == (self.device, torch.get_num_threads())
        return here and (row.precision, row.mode, row.wanted) == setting

    def add(self, precision: str, mode: str, wanted: str) -> None:
        """Measures one setting and records it, or records why it cannot be measured."""
        setting = (precision, mode, wanted)
        rows = tuple(row for row in self.value.rows if not self._is(row, setting))
        lost = tuple(row for row in self.value.missing if not self._is(row, setting))
        device, memory_format = self.device, self.memory_format
        try:
            how = speed.Setting(self._batch(precision, wanted), precision, mode)
            found = speed.compare(self.dense, self.pruned, self.bed, how, seconds=self.request.seconds)
            rows += tuple(replace(row, device=device, memory_format=memory_format, wanted=wanted) for row in found)
        except BenchError as error:
            threads = torch.get_num_threads()
            lost += (SpeedMissing(precision, mode, wanted, device, threads, str(error), memory_format),)
        self.value = replace(self.value, rows=rows, missing=lost)
        write(self.path, self.value)
        self.done += 1

    def _batch(self, precision: str, wanted: str) -> int:
        if wanted == AUTO:
            return self._best(precision)
        return int(wanted)

    def _best(self, precision: str) -> int:
        """Returns the dense model's best batch on this device; one search serves all runs with this dense model."""
        here = (self.device, torch.get_num_threads(), precision)
        same = (self.value.dense, self.value.image_size)
        known = [s.search for s in self.searches if (s.dense, s.image_size) == same and _where(s.search) == here]
        if not known:
            batch, tried = speed.best_batch(self.dense, self.bed, precision)
            known = [BatchSearch(*here, batch, tuple(tried))]
            self.searches.append(KnownSearch(*same, known[0]))
        others = tuple(search for search in self.value.search if _where(search) != here)
        self.value = replace(self.value, search=(*others, known[0]))
        return known[0].batch


def _where(search: BatchSearch) -> tuple[str, int, str]:
    return search.device, search.threads, search.precision


def _dense(model: str, plan: dict[str, Any]) -> nn.Module:
    """Builds the dense model that a run names, with arbitrary weights, for the classes and images of its plan."""
    name, arguments = parse(model)
    shape = {key: plan[key] for key in ("classes", "channels", "image_size")}
    return plans.rebuild({"model": name, "arguments": arguments, **shape}).eval()


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def device_name(device: torch.device) -> str:
    """Returns the model name of the GPU, or of the processor."""
    facts = environment.hardware(device)
    return str(facts.get("gpu") or facts["cpu"])


def known_searches(home: Home, runs: Iterable[str]) -> list[KnownSearch]:
    """Returns the searches for a dense model's best batch that the speed records of some runs hold."""
    files = [home.records.speed(run_id) for run_id in runs]
    return [KnownSearch(file.dense, file.image_size, search) for file in files if file for search in file.search]
