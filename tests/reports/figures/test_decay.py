"""Hosts with and without decay, and the sweeps of its settings: the numbers by hand, the paper's beside them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import methods
from bench.records.files import read_json, write_json
from bench.records.folder import Folder
from reports.figures import decay, hosts
from reports.load import published
from reports.load.records import Study, load
from reports.page import special
from reports.tables import formats
from tests.reports import homes
from tests.reports.looking import assert_legible, drawn

HALF = 4.302653 / math.sqrt(3)  # of a t interval over the values -1, 0, 1
LEAVE = {"alone": {}, "+SP": {"leave.how": "decay"}, "+SR": {"leave.how": "decay", "leave.rectify": "true"}}


def measured(home: Path, declared: dict[str, Any], cell: str, seed: int, **metrics: float) -> Path:
    """The folder of a final, with the metrics and the phases that a run of a host has."""
    folder = Folder(home).run(homes.run_id(declared["name"], "final", cell, declared["cells"][cell]["number"], seed))
    record = read_json(folder / "record.json")
    record["phases"] = [{"after/val/top1": 60.0}, {"after/val/top1": 40.0 + seed - 1001}, {"val/top1": 90.0}]
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


def test_hosts_by_hand(tmp_path: Path) -> None:
    table = hosts.hosts(on_hosts(tmp_path))
    own = {(row["host"], row["policy"]): row for row in table[~table["claim"]].to_dict("records")}
    smooth, rectified = own["depgraph", "+SP"], own["depgraph", "+SR"]
    assert (smooth["top1"], smooth["difference"], smooth["before"], smooth["parameters"]) == (91.0, 1.0, 40.0, 0.5)
    assert smooth["difference_half"] == pytest.approx(HALF, abs=1e-6)
    assert (rectified["n"], rectified["difference_n"], rectified["difference"]) == (2, 2, 0.0)
    assert math.isnan(own["depgraph", "alone"]["difference"])


def test_the_papers_rows_stand_beside_their_hosts_in_italics(tmp_path: Path) -> None:
    study = on_hosts(tmp_path)
    table = hosts.hosts(study)
    assert table["claim"].tolist() == [False] * 3 + [True] * 3 + [False] * 3 + [True] * 3
    assert table.loc[table["claim"], "difference"].dropna().tolist() == pytest.approx([0.12, 0.29, 0.2, 0.4])
    text = formats.markdown(special.TABLES["hosts"](study))
    assert r"| *depgraph* | *+SR* | *cifar\_resnet56* | – | – | *94.13* | *+0.29* |" in text
    assert "| depgraph | +SP |" in text


def test_the_papers_numbers_are_those_of_the_claims() -> None:
    claimed = sorted((claim.model, claim.accuracy) for claim in methods.load("decay").CLAIMS)
    assert sorted((point.model, point.top1) for point in published.DECAY) == claimed


def test_the_papers_points_are_drawn_on_its_model_only(tmp_path: Path) -> None:
    canvas = drawn(special.SPECIAL["hosts"](on_hosts(tmp_path)))
    assert "paper's" in [text.get_text() for text in canvas.legends[0].get_texts()]
    points = [line for line in canvas.axes[0].lines if line.get_marker() == "D" and np.size(line.get_xdata())]
    assert len(points) == 3  # OTOv2's are of another model


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


def test_sweeps_by_hand(tmp_path: Path) -> None:
    table = decay.decay(sweeps(tmp_path))
    assert table["sweep"].value_counts().to_dict() == {"steps": 4, "rate": 2, "length": 2, "": 1}
    steps = table[table["sweep"] == "steps"]
    assert steps[["name", "x", "accuracy", "released"]].values.tolist() == [
        ["+SP", 1, 90.0, 0.0],
        ["+SP", 10, 91.0, 0.0],
        ["+SR", 1, 92.0, 20.0],
        ["+SR", 10, 93.0, 30.0],
    ]
    rate = table[table["sweep"] == "rate"]
    assert rate[["name", "x", "released", "stayed"]].values.tolist() == [
        ["gain", 0.0, 40.0, 20.0],
        ["gain", 0.1, 50.0, 25.0],
    ]
    assert rate["released_high"].tolist() == pytest.approx([40 + HALF, 50 + HALF], abs=1e-6)
    assert table.loc[table["sweep"] == "length", "x"].tolist() == [0.01, 1.0]


def test_what_was_released_is_told(tmp_path: Path) -> None:
    caption = special.SPECIAL["decay"](sweeps(tmp_path)).caption
    assert "Of 7 variants 5 released channels, and in 5 of these some stayed." in caption


@pytest.mark.slow
def test_every_point_of_a_sweep_is_seen(tmp_path: Path) -> None:
    canvas = drawn(special.SPECIAL["decay"](sweeps(tmp_path)))
    for axes in canvas.axes:
        low, high = axes.get_ylim()
        for line in axes.lines:
            assert all(low <= y <= high for y in np.ravel(line.get_ydata()))


@pytest.mark.parametrize("make", [on_hosts, sweeps])
def test_figures_of_decay_are_legible(make: object, tmp_path: Path) -> None:
    study = make(tmp_path)  # type: ignore[operator]
    (maker,) = special.makers(study)
    for wide in (True, False):
        assert_legible(drawn(maker(study), wide))


def test_a_host_on_several_models_has_a_panel_for_each(tmp_path: Path) -> None:
    canvas = drawn(special.SPECIAL["hosts"](on_hosts(tmp_path, ("one", "two"))))
    assert [axes.get_title(loc="left") for axes in canvas.axes if axes.get_title(loc="left")] == ["one", "two"]
