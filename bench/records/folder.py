"""Records: the truth about finished runs and studies, as files that reports read. One format, one parser.

    <home>/runs/<id>/record.json      written last and atomically: its presence means that the run has ended
                     curves.parquet   one row per epoch (curves.jsonl while the run goes on)
                     model.safetensors, plan.json
                     speed.json       how fast the model is, where that was measured (`bench speed`)
    <home>/studies/<study>/study.json            the declaration, below
                           entries/<entry>.json  one per trial, final and baseline: which run it is, and its role
    <home>/semistructured.json    2:4 kernels timed layer by layer: device, versions, rows (`bench.measure.semistructured`),
                                  missing

A record (schema 1) has these keys:

    schema, protocol, id, status ("finished" or "failed"), reason (text or null)
    run         all fields (`Run.to_dict`); identity: the hashed part
    architecture  what was built: the run's model, unless its method trains a smaller one in its place
    label       what must stand beside the numbers, such as "masked channels"; "" where nothing must, missing in old ones
    metrics     flat dict of floats, see `bench.measure`: of the finished model, after a recovery if the run has one (last
                epoch; val_best/top1 is the best of those as small), but val/top1_pruned and val/top1_bn before it;
                val/agreement and val/class_drop only where the run started from a trained dense model; params/all = weights/all
                + params/norms + params/biases + params/other (embeddings, tables, tokens, scales, recurrent weights);
                sparsity/effective and weights/disconnected where they can be computed, missing in old ones
    layers      one dict per weight tensor: name, shape, weights, nonzero, sparsity, macs, macs_left, pq, prunable,
                kind ("convolution", "pointwise", "depthwise", "linear", "classifier")
    collapsed   one dict per layer that lets little or nothing through: name (of the weight), reason; missing in old ones
    phases      one dict per phase, of the model at its end and before the method acts: index, name, step, steps,
                val/top1, val/loss, sparsity, weights_left, pq; and, where the method then changed weights,
                after/val/top1, of what came of it; the last is named "recover" where the run has a recovery
    cost        steps, start_steps and shape_steps (of the runs that it began with), samples, seconds, train_seconds,
                images_per_second, peak_memory_bytes, runs_beside, energy_joules (of training, by
                `bench.measure.energy`, or null)
    provenance  commit, dirty, versions, hardware, device, threads, command, started, finished, data; of another lab's
                (`bench.records.imported`) also imported_from
    test_openings   how often the test split was opened: 0, or 1 for a final
    test_opened     when that was, and by which process: time (s since 1970), process (id); missing in old ones
    attempts    earlier attempts that failed: reason, when

A measurement of speed has: schema, id, dense (the architecture that the run names, which it is compared with), image_size,
smaller (whether the model has other shapes than the dense one; if not, nothing that was measured is called a speed-up),
speedup/theoretical, rows, missing (settings that could not be measured: reason), search (the dense model's best batch by
device, threads and precision, with what was tried). Rows come in pairs, of the model "dense" and "pruned", which were timed
in turns: model, batch, wanted (that number as text, or "auto" for the best batch), precision, mode ("eager", "compiled"),
device, memory_format, threads, load (of the machine, over the minute before), busy (the share of the processors, 0 to 1,
that other work used just before), when (s since 1970), median_ms, q1_ms, q3_ms and n of single calls, images_per_s, thrown
(blocks in which the GPU's clock was low), clock_mhz (or null); and of the pair, in the second row, rounds, and over these
ratio (dense over pruned time), ratio_q1, ratio_q3.

A row of the curves has: step, epoch, phase, time (ms since 1970), train/loss, val/top1, val/loss, lr, sparsity,
weights_left, seconds, and the method's stats as method/<name>.

An entry has: kind ("trial", "final", "baseline", or "start": the dense model of the trials), cell, number, seed, run (id),
params, values, state ("running", "finished", "failed"), reason; one that follows from a final
(`bench.study.controls`) also of, the
final's cell; and dense_seed, where the dense model that it starts from has another seed. A final's number is that of the trial
it repeats, in a grid that of its variant, and its params are what the variant sets.

A declaration has: schema, protocol, name, kind ("pareto", "ladder", "grid"), topic (the name of a study that brings its own
methods, or ""), state ("running", "finished"), question, select (how numbers are chosen), objectives (none in a grid),
task, models, methods, targets (or null), settings, trials (0 in a grid), sampler (null in a grid), generation, seed,
final_seeds, controls, derived, figures (the names of figures that the report adds), lenient (models that cannot take part
are failures among the entries), speed (the modes in which finals are timed), cells, claims, reconstructions, documentation,
command; another lab's also imported_from. Each cell, by its name, has: method, model, target (or null), reconstruction
(whether this configuration is one), space and importances (empty in a grid); and in a grid also

    variant     its label; "" where it is the only variant of its method
    group       what it is compared with: cells of one group make one panel or curve
    number      that of its entries: the position among the variants
    settings    key=value texts that it adds to the study's
    facts       numbers that belong beside its result, such as {"predicted": 0.75}

and all declarations further: own (settings of single methods, by name), dense (settings of the dense stage; null: there is
no such stage), dense_seeds, pairing (which seeds a repetition has, in words), recoveries (then each cell has a recovery),
baselines (cells of what runs besides the methods; method is the name that it has here, runs the method's own), baseline (the
one that all are compared with, or null), frozen (a digest of all that numbers depend on, or null where the study may grow).

Cells of grids are named method/model:variant, those of ladders method/model@target, others method/model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.records.files import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1


@dataclass(frozen=True)
class Folder:
    """The records below one folder: runs and studies."""

    home: Path

    def run(self, run_id: str) -> Path:
        """The folder of a run."""
        return self.home / "runs" / run_id

    def record(self, run_id: str) -> dict[str, Any] | None:
        """The record of a run that has ended, or None."""
        path = self.run(run_id) / "record.json"
        return read_json(path) if path.exists() else None

    def curves(self, run_id: str) -> pd.DataFrame:
        """The curves of a run, finished or not, one row per epoch, sorted by step."""
        import pandas as pd  # here, because commands that only list studies must start fast

        folder = self.run(run_id)
        if (folder / "curves.parquet").exists():
            return pd.read_parquet(folder / "curves.parquet")
        return pd.DataFrame(read_rows(folder / "curves.jsonl"))

    def speed(self, run_id: str) -> dict[str, Any] | None:
        """What was measured of the speed of a run's model, or None."""
        path = self.run(run_id) / "speed.json"
        return read_json(path) if path.exists() else None

    def run_ids(self) -> list[str]:
        """All runs with a folder, finished or not, sorted."""
        return sorted(p.name for p in (self.home / "runs").glob("*") if p.is_dir())

    def studies(self) -> list[str]:
        """The names of all studies, sorted."""
        return sorted(p.parent.name for p in (self.home / "studies").glob("*/study.json"))

    def study(self, name: str) -> dict[str, Any]:
        """The declaration of a study."""
        value: dict[str, Any] = read_json(self.home / "studies" / name / "study.json")
        return value

    def entries(self, study: str) -> Iterator[dict[str, Any]]:
        """Trials, finals and baselines of a study, sorted by name."""
        for path in sorted((self.home / "studies" / study / "entries").glob("*.json")):
            yield read_json(path)

    def write_entry(self, study: str, entry: dict[str, Any]) -> None:
        """Write or replace one entry of a study."""
        write_json(self.home / "studies" / study / "entries" / f"{entry_name(entry)}.json", entry)

    def drop_entry(self, study: str, entry: dict[str, Any]) -> None:
        """Take an entry out of a study; its run stays on record."""
        (self.home / "studies" / study / "entries" / f"{entry_name(entry)}.json").unlink(missing_ok=True)


def entry_name(entry: dict[str, Any]) -> str:
    """The name of an entry: kind, cell, number and seed; the same in the folder and in MLflow."""
    cell = str(entry["cell"]).replace("/", "-").replace(":", "-")
    dense = f"-d{entry['dense_seed']}" if "dense_seed" in entry else ""
    return f"{entry['kind']}-{cell}-{entry['number']:04d}-s{entry['seed']}{dense}"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a file of JSON lines. A last line cut short by a kill is left out; of rows with one step, the last wins."""
    rows: dict[int, dict[str, Any]] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]
