"""Small studies with known numbers, for the tests of figures and tables."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.records.files import read_json, write_json
from bench.records.folder import Folder
from reports.load.records import Study, load
from tests.reports import homes

HALF = 4.302653 / math.sqrt(3)  # of a t interval over the values -1, 0, 1

RECONSTRUCTION = {"drop": "the order of the two steps"}


def sparse_and_dense(home: Path) -> Study:
    """A model of 1000 parameters pruned to 100 and 500, small models of as many, and the dense one."""
    cells = {
        f"{m}/net@{t}": {"method": m, "model": "net", "target": t, "space": {}, "importances": {}}
        for m in ("gradual", "small_dense")
        for t in (0.5, 0.9)
    }
    changes = {"kind": "ladder", "methods": ["gradual", "small_dense"], "models": ["net"], "claims": {}}
    homes.declare(home, name="roads", cells=cells, figures=["roads"], **changes)
    rows = [("final", cell, said["method"], said["target"]) for cell, said in cells.items()]
    for kind, cell, method, target in [*rows, ("baseline", "dense/net", "dense", 0.0)]:
        for seed in homes.SEEDS:
            count, run = round(1000 * (1 - target)), homes.run_id(cell, seed)
            sizes = {
                "params_all": 1000,
                "params_nonzero": count,
                "bytes_dense": 4 * count,
                "bytes_sparse": 4 * count + 50,
            }
            test = 90.0 + seed - 1001 - 10 * target - (method == "small_dense")
            homes.write_run(home, run, model="net", val=90.0, left=1 - target, test=test, rounds=1, **sizes)
            homes.write_entry(home, "roads", kind, cell, 0, seed, run=run)
    return load(Folder(home), "roads")


def ablation(home: Path) -> Study:
    """Both parts of the ablation, on one model with three seeds; the last interval holds no prediction."""
    variants: list[homes.Variant] = [
        (f"{label} 0.9", "drop", "parts", {"parts": part, "final": 0.9}, {"target": 0.9})
        for part, label in (("away", "away only"), ("back", "back only"), ("both", "both"))
    ]
    for rule, back, predicted in (("fraction", 0.1, 0.6), ("target", 0.1, 0.75), ("target", 0.2, 0.64)):
        settings = {"rule": rule, "order": "simultaneous", "back": back}
        variants.append((f"{rule} {back}", "drop", "equilibrium", settings, {"back": back, "predicted": predicted}))
    declared = homes.grid(home, variants, name="ablation", reconstructions=RECONSTRUCTION, figures=["equilibrium"])
    for i, (cell, said) in enumerate(declared["cells"].items()):
        for seed in homes.SEEDS:
            settled = said["facts"].get("predicted", 0.9)
            left = 1 - settled + 0.001 * (seed - 1001) + (0.05 if settled == 0.64 else 0)
            homes.final(home, declared, cell, seed, val=90.0, left=left, test=90.0 + i, rounds=1)
    return load(Folder(home), "ablation")


def architectures(home: Path) -> Study:
    """Two architectures of which one fails."""
    variants: list[homes.Variant] = [("", "drop", "", {"final": 0.75}, {})]
    changes = {"models": ["net", "other"], "reconstructions": RECONSTRUCTION, "figures": ["prunable"]}
    declared = homes.grid(home, variants, name="architectures", **changes)
    for seed in homes.SEEDS:
        homes.final(home, declared, "drop/net", seed, val=90.0, left=0.25, test=90.0 + seed - 1001, rounds=1)
        lost = {"state": "failed", "run": "", "reason": f"the window must fit, but got 32 and {seed % 2}"}
        homes.write_entry(home, "architectures", "final", "drop/other", 0, seed, **lost)
    return load(Folder(home), "architectures")


def sap_phases(home: Path, variants: int = 3) -> Study:
    rows: list[homes.Variant] = [(f"eta={i}", "sap", "eta", {"eta": i}, {}) for i in range(variants)]
    declared = homes.grid(home, rows, name="sap_phases", figures=["sap-phases"])
    for cell in declared["cells"]:
        for seed in homes.SEEDS:
            homes.final(home, declared, cell, seed, val=90.0 + 0.1 * (seed - 1001), left=0.1, test=89.0)
    return load(Folder(home), "sap_phases")


VARIANTS: list[homes.Variant] = [
    ("eta=1", "sap", "eta", {"eta": 1}, {}),
    ("eta=0.1", "sap", "eta", {"eta": 0.1}, {"predicted": 0.25}),
    ("both 0.9", "drop", "parts", {"final": 0.9}, {}),
]


def variants(home: Path) -> Study:
    """Two variants of sap and one of drop, a reconstruction, whose last run failed, on one model."""
    declared = homes.grid(home, VARIANTS, reconstructions=RECONSTRUCTION)
    for i, cell in enumerate(declared["cells"]):
        for seed in homes.SEEDS[: 3 - (i == 2)]:
            homes.final(home, declared, cell, seed, val=91.0 - i, left=0.5 - i / 10, test=90.0 - i + seed - 1001)
    lost = {"state": "failed", "run": "", "reason": "out of memory"}
    homes.write_entry(home, "grid", "final", cell, 2, homes.SEEDS[2], **lost)
    return load(Folder(home), "grid")


def crowded(home: Path, name: str, variants: list[homes.Variant], models: list[str]) -> Study:
    declared = homes.grid(home, variants, name=name, models=models, reconstructions=RECONSTRUCTION, final_seeds=[1000])
    for i, cell in enumerate(declared["cells"]):
        homes.final(home, declared, cell, 1000, val=90.0 - i % 7, left=0.5, test=90.0 - i % 7, rounds=2)
    return load(Folder(home), name)


MANY_VARIANTS = [(f"a long label of variant {i}", "drop", f"group {i % 3}", {}, {}) for i in range(24)]

MANY_MODELS = [f"a_long_name_of_a_model_{i:02d}" for i in range(21)]


def trials(home: Path, count: int, *, pareto: bool, cells: int = 1) -> Study:
    """Made-up trials of cells without runs of their own: what figures of the search need."""
    random, names = np.random.default_rng(1), [f"sap/m{i:02}" for i in range(cells)]
    cell = {"method": "sap", "target": None if pareto else 0.5, "space": {"p": '{"attributes": {}}'}, "importances": {}}
    declared = homes.declare(
        home, kind="pareto" if pareto else "ladder", cells={name: {**cell, "model": name[4:]} for name in names}
    )
    homes.write_run(home, "one", model="m", val=90.0, left=0.5)
    for name in names:
        for number in range(count):
            values = [round(float(random.uniform(80, 99)), 1), round(float(random.uniform(0.05, 1)), 2)]
            told = values[: 2 if pareto else 1]
            homes.write_entry(
                home, declared["name"], "trial", name, number, values=told, params={"p": values[1]}, run="one"
            )
    return load(Folder(home), declared["name"])


TARGETS = (0.5, 0.8)

DOWN = {"gradual": 0.0, "sap": 4.0}


def ladder(home: Path) -> Study:
    """Two methods and one injected baseline at two targets, three seeds, and for each final of gradual a derived control."""
    said: dict[str, Any] = {"model": "net", "space": {}, "importances": {}}
    cells_ = {f"{m}/net@{t}": {**said, "method": m, "target": t} for m in DOWN for t in TARGETS}
    names = {f"random/net@{t}": {**said, "method": "random", "target": t} for t in TARGETS}
    names["dense/net"] = {**said, "method": "dense", "target": None}
    declared = {"kind": "ladder", "methods": list(DOWN), "models": ["net"], "cells": cells_, "baselines": names}
    homes.declare(home, name="compare", claims={}, trials=0, figures=["comparison", "allocation"], **declared)
    for cell, about in {**cells_, **names}.items():
        for seed in homes.SEEDS:
            kind = "final" if cell in cells_ else "baseline"
            test = 95.0 + seed - 1001 - DOWN.get(about["method"], 1.0) - (about["target"] or 0)
            write_compared(home, kind, cell, seed, left=1 - (about["target"] or 0), test=test)
            if about["method"] == "gradual":
                derived = f"random_ratios/net:gradual@{about['target']}"
                write_compared(home, "baseline", derived, seed, left=1 - about["target"], test=test, of=cell)
    return load(Folder(home), "compare")


def write_compared(home: Path, kind: str, cell: str, seed: int, *, left: float, test: float, **more: str) -> None:
    run = homes.run_id("compare", kind, cell, 0, seed)
    homes.write_run(home, run, model="net", val=90.0, left=left, test=test, rounds=1)
    path = Folder(home).run(run) / "record.json"
    record = read_json(path)
    record["run"]["epochs"] = 6.0
    record["cost"] |= {"steps": 60, "start_steps": 0 if cell.startswith("dense") else 100}
    write_json(path, record)
    homes.write_entry(home, "compare", kind, cell, 0, seed, run=run, **more)


LEAVE = {"alone": {}, "+SP": {"leave.how": "decay"}, "+SR": {"leave.how": "decay", "leave.rectify": "true"}}


def measured(home: Path, declared: dict[str, Any], cell: str, seed: int, **metrics: float) -> Path:
    """The folder of a final, with the metrics and the phases that a run of a host has."""
    folder = Folder(home).run(homes.run_id(declared["name"], "final", cell, declared["cells"][cell]["number"], seed))
    record = read_json(folder / "record.json")
    values = [{"after/val/top1": 60.0}, {"after/val/top1": 40.0 + seed - 1001}, {"val/top1": 90.0}]
    record["phases"] = [
        {"index": i, "name": f"phase {i}", "steps": 1, "step": i + 1, **value} for i, value in enumerate(values)
    ]
    record["metrics"] |= {"params/reference": 2 * record["metrics"]["params/all"], **metrics}
    write_json(folder / "record.json", record)
    return folder


def on_hosts(home: Path, models: tuple[str, ...] = ("cifar_resnet56",)) -> Study:
    """Smooth pruning gains 0, 1 and 2 points with the three seeds, self-rectifying has no run with the last one."""
    variants: list[homes.Variant] = [
        (policy, method, method, dict(leave), {}) for method in ("depgraph", "otov2") for policy, leave in LEAVE.items()
    ]
    declared = homes.grid(home, variants, name="hosts", task="cifar10", models=list(models), figures=["hosts"])
    for cell, said in declared["cells"].items():
        for seed in homes.SEEDS[: 2 if said["variant"] == "+SR" else 3]:
            test = 90.0 + (seed - 1000 if said["variant"] == "+SP" else 0.0)
            homes.final(home, declared, cell, seed, val=90.0, left=0.5, test=test, rounds=1)
            measured(home, declared, cell, seed)
    return load(Folder(home), "hosts")


def sweeps(home: Path) -> Study:
    """N = 1 and 10 of both policies, and three variants of two thresholds."""
    variants: list[homes.Variant] = [
        (f"{policy} N={n}", "depgraph", "steps", {"leave.how": "decay", "leave.rectify": rectify}, {"steps": n})
        for policy, rectify in (("SP", "false"), ("SR", "true"))
        for n in (1, 10)
    ]
    variants += [
        (
            f"rate {rate} length {length}",
            "depgraph",
            "release",
            _thresholds(rate, length),
            {"rate": rate, "length": length},
        )
        for rate, length in ((0.0, 0.01), (0.1, 0.01), (0.0, 1.0))
    ]
    declared = homes.grid(home, variants, name="sweeps", figures=["decay"])
    for number, (cell, said) in enumerate(declared["cells"].items()):
        for seed in homes.SEEDS:
            homes.final(home, declared, cell, seed, val=90.0, left=0.5, test=90.0 + number + seed - 1001, rounds=1)
            folder = measured(home, declared, cell, seed)
            released = 0.0 if said["variant"].startswith("SP") else 10.0 * number + seed - 1001
            curves = pd.read_parquet(folder / "curves.parquet")
            curves["method/released"] = [0.0] * (len(curves) - 1) + [released]
            curves["method/stayed"] = released / 2
            curves.to_parquet(folder / "curves.parquet")
    return load(Folder(home), "sweeps")


def _thresholds(rate: float, length: float) -> dict[str, object]:
    return {
        "leave.how": "decay",
        "leave.rectify": "true",
        "leave.variant": "gain",
        "leave.rate": rate,
        "leave.length": length,
    }
