"""Small homes of records, written file by file in the documented format, with numbers that one can follow."""

from __future__ import annotations

import hashlib
import io
import math
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.records.files import write_json
from bench.records.folder import Folder
from bench.records.run_record import SCHEMA
from bench.records.study_record import Entry

MODELS = ("test_efficientnet", "test_vit")
SEEDS = (1000, 1001, 1002)
LAYERS = {"test_efficientnet": 20, "test_vit": 14}
PROVENANCE = {
    "version": "0.1.0",
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "dirty": False,
    "versions": {"python": "3.11.9", "torch": "2.15.0"},
    "hardware": {"cpu": "Some CPU", "cores": 2, "memory": 8 * 2**30},
    "device": "cpu",
    "threads": 1,
    "command": "bench study sap",
    "started": 1.0,
    "finished": 2.0,
    "data": {"task": "digits", "digest": "abcd", "train": 1257, "validation": 180, "test": 360},
}
CLAIM = {"model": "resnet18", "task": "cifar10", "accuracy": 94.6, "source": "arXiv:2302.05601, figure 4"}


def run_id(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def declaration(**changes: Any) -> dict[str, Any]:
    space = {"p": '{"name": "FloatDistribution"}', "gamma": '{"name": "FloatDistribution"}'}
    shares = {"accuracy": {"gamma": 0.6, "p": 0.4}, "weights_left": {"gamma": 0.9, "p": 0.1}}
    cells = {
        f"sap/{m}": {"method": "sap", "model": m, "target": None, "space": space, "importances": shares} for m in MODELS
    }
    declared = {
        **{"schema": SCHEMA, "protocol": "1", "name": "pareto-sap", "kind": "pareto", "state": "finished"},
        "question": "What accuracy is kept at what share of the weights?",
        "select": "of the front on validation, the two that dominate the largest area",
        "objectives": ["accuracy", "weights_left"],
        **{"task": "digits", "models": list(MODELS), "methods": ["sap"], "targets": None, "settings": ["epochs=6"]},
        **{"trials": 8, "sampler": "tpe", "generation": 4, "seed": 0, "final_seeds": list(SEEDS)},
        "controls": ["dense"],
        "cells": cells,
        "claims": {"sap": [{**CLAIM, "sparsity": 0.98, "note": "read off a figure"}]},
        "reconstructions": {},
        "documentation": {"sap": "SAP (Diao et al., 2023)."},
        "command": "bench study sap",
    }
    return {**declared, **changes}


def shares(left: float, rounds: int) -> list[float]:
    """The share of weights left after each round."""
    return [left ** (i / max(1, rounds - 1)) for i in range(rounds)]


@cache
def curves(val: float, left: float, rounds: int) -> bytes:
    """The parquet file of a run's curves: two epochs to a round."""
    share = shares(left, rounds)
    rows = [
        {
            **{
                "step": 10 * (e + 1),
                "epoch": float(e + 1),
                "phase": f"round {e // 2}",
                "time": 0,
                "train/loss": 1.0 / (e + 1),
            },
            **{"val/top1": val * (1 - math.exp(-(e % 2 + 1) - e / 4)), "val/loss": 0.3, "lr": 0.1, "sparsity": 0.0},
            **{"weights_left": share[e // 2], "seconds": float(e)},
        }
        for e in range(2 * rounds)
    ]
    file = io.BytesIO()
    pd.DataFrame(rows).to_parquet(file)
    return file.getvalue()


def write_run(
    home: Path,
    run: str,
    *,
    model: str,
    val: float,
    left: float,
    test: float | None = None,
    rounds: int = 4,
    **more: float,
) -> None:
    """A finished run whose numbers follow from a few: ``left`` is the share of weights left at the end; ``more`` metrics.

    A model has 576 weights and 24 other parameters to a layer; the last layer is not prunable.
    """
    folder = Folder(home).run(run)
    metrics = {"val/top1": val, "val/loss": 0.3, "sparsity/prunable": 1 - left, "weights_left": left}
    metrics |= {"macs/fraction": left**0.7, "bytes/dense": 400_000, "bytes/compressed": 400_000 * left}
    metrics |= {} if test is None else {"test/top1": test}
    count = LAYERS.get(model, 5)
    nonzero = int(576 * left) * (count - 1) + 576
    metrics |= {"params/all": 600 * count, "params/nonzero": nonzero + 24 * count, "bytes/sparse": 5 * nonzero}
    metrics |= {name.replace("_", "/", 1): value for name, value in more.items()}
    layers = [
        {
            **{"name": f"blocks.{i}.conv.weight", "shape": [8, 8, 3, 3], "weights": 576},
            "nonzero": int(576 * left) if i < count - 1 else 576,
            **{
                "sparsity": (1 - left) * (i + 1) / count if i < count - 1 else 0.0,
                "macs": 100,
                "macs_left": 100 * left,
            },
            **{"pq": 0.2, "prunable": i < count - 1},
        }
        for i in range(count)
    ]
    share = shares(left, rounds)
    phases = [
        {
            **{"index": i, "name": f"round {i}", "step": 20 * (i + 1), "steps": 20, "val/loss": 0.3},
            **{"val/top1": val + [0, 1.0, -1.0, -12.0][i % 4], "sparsity": 1 - share[i], "weights_left": share[i]},
            "pq": [0.30, 0.25, 0.35, 0.10][i % 4],
        }
        for i in range(rounds)
    ]
    record = {
        **{"schema": SCHEMA, "protocol": "1", "id": run, "status": "finished", "reason": None, "run": {"model": model}},
        **{
            "identity": {},
            "metrics": metrics,
            "layers": layers,
            "phases": phases,
            "test_openings": int(test is not None),
        },
        "cost": {"steps": 20 * rounds, "seconds": 12.5, "train_seconds": 10.0},
        **{"provenance": PROVENANCE, "attempts": []},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "curves.parquet").write_bytes(curves(val, left, rounds))
    write_json(folder / "record.json", record)


def write_entry(home: Path, study: str, kind: str, cell: str, number: int, seed: int = 0, **rest: Any) -> None:
    entry = {"kind": kind, "cell": cell, "number": number, "seed": seed, "run": run_id(study, kind, cell, number, seed)}
    entry |= {"params": {"p": 0.5, "gamma": 1.0 + number}, "values": None, "state": "finished", "reason": None}
    Folder(home).write_entry(study, Entry.from_json({**entry, **rest}))


def declare(home: Path, **changes: Any) -> dict[str, Any]:
    declared = declaration(**changes)
    write_json(home / "studies" / declared["name"] / "study.json", declared)
    return declared


MADE: dict[str, tempfile.TemporaryDirectory[str]] = {}


def full(home: Path, *, trials: int = 8, seeds: tuple[int, ...] = SEEDS, **changes: Any) -> Path:
    """A Pareto study of sap on two models: trials (number 3 fails), two finals each, dense controls.

    Each is written once in a process, and copied from then on.
    """
    key = repr((trials, seeds, changes))
    if key not in MADE:
        MADE[key] = tempfile.TemporaryDirectory()
        _full(Path(MADE[key].name), trials, seeds, changes)
    return shutil.copytree(MADE[key].name, home, dirs_exist_ok=True)


def _full(home: Path, trials: int, seeds: tuple[int, ...], changes: dict[str, Any]) -> None:
    declared, random = declare(home, **changes), np.random.default_rng(0)
    name = declared["name"]
    for model in declared["models"]:
        cell = f"sap/{model}"
        for number in range(trials):
            if number == 3:
                reason = "the loss must stay finite, but at step 12 it is nan; lower `lr`"
                write_entry(home, name, "trial", cell, number, state="failed", reason=reason)
                continue
            left = round(float(0.9 * 0.62**number), 4)
            val = round(float(95 + random.normal(0, 1.2) - 0.5 / left**0.7), 2)
            write_run(home, run_id(name, "trial", cell, number, 0), model=model, val=val, left=left)
            write_entry(home, name, "trial", cell, number, values=[val, left])
        for seed in seeds:
            shift = float(seed - 1001)
            for number, val, left in ((2, 94.0, 0.35), (6, 90.0, 0.05)):
                run = run_id(name, "final", cell, number, seed)
                write_run(home, run, model=model, val=val + shift, left=left, test=val - 1 + shift)
                write_entry(home, name, "final", cell, number, seed)
            run = run_id(name, "baseline", f"dense/{model}", 0, seed)
            write_run(home, run, model=model, val=96 + shift, left=1.0, test=95 + shift, rounds=1)
            write_entry(home, name, "baseline", f"dense/{model}", 0, seed, params={})


Variant = tuple[str, str, str, dict[str, Any], dict[str, float]]
"""Label, method, group, settings and facts."""


def grid(home: Path, variants: list[Variant], **changes: Any) -> dict[str, Any]:
    """The declaration of a grid, and its dense controls; the runs of the variants are the test's."""
    models = changes.get("models", ["test_vit"])
    cells = {
        f"{method}/{model}" + (f":{label}" if label else ""): {
            **{"method": method, "model": model, "target": None, "space": {}, "importances": {}, "number": number},
            **{"variant": label, "group": group, "facts": facts},
            "settings": [f"{name}={value}" for name, value in settings.items()],
        }
        for number, (label, method, group, settings, facts) in enumerate(variants)
        for model in models
    }
    methods = sorted({method for _, method, *_ in variants})
    base = {"name": "grid", "kind": "grid", "objectives": [], "models": models, "methods": methods, "cells": cells}
    base |= {"trials": 0, "sampler": None, "claims": {}, "documentation": {m: f"{m}." for m in methods}, "figures": []}
    declared = declare(home, **{**base, **changes})
    for model in models:
        for seed in declared["final_seeds"] if "dense" in declared["controls"] else ():
            run = run_id(declared["name"], "baseline", f"dense/{model}", 0, seed)
            write_run(home, run, model=model, val=96.0, left=1.0, test=95.0 + 0.1 * (seed - 1001), rounds=1)
            write_entry(home, declared["name"], "baseline", f"dense/{model}", 0, seed, params={})
    return declared


def final(home: Path, declared: dict[str, Any], cell: str, seed: int, **run: Any) -> None:
    """A finished final of a grid's cell; ``run`` is what `write_run` takes."""
    facts = declared["cells"][cell]
    own = run_id(declared["name"], "final", cell, facts["number"], seed)
    write_run(home, own, model=facts["model"], **run)
    params = dict(setting.split("=", 1) for setting in facts["settings"])
    write_entry(home, declared["name"], "final", cell, facts["number"], seed, params=params)
