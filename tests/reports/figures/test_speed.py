"""MACs left against measured time: the numbers by hand, what is left out, and that the figure can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.records.files import read_json, write_json
from bench.records.folder import Folder
from reports.figures import speed
from reports.load.records import Study, load
from reports.page import requested
from reports.tables import formats
from tests.reports import homes
from tests.reports.looking import assert_legible, drawn


def pair(ratio: float, **how: Any) -> list[dict[str, Any]]:
    """Two rows as `bench.records.speed_record` describes them; the ratio's quartiles are a tenth away."""
    same = {"batch": 1, "wanted": "1", "precision": "fp32", "mode": "eager", "device": "Some CPU", "threads": 1} | how
    same |= {"memory_format": "channels_last", "load": 0.1, "busy": 0.0, "when": 1.0, "clock_mhz": None} | how
    times = {"q1_ms": 1.0, "q3_ms": 9.0, "n": 30, "thrown": 1}
    both = {"ratio": ratio, "ratio_q1": ratio - 0.1, "ratio_q3": ratio + 0.1, "rounds": 12}
    return [
        {"model": "dense", **same, **times, "median_ms": 4.0, "images_per_s": 250.0},
        {"model": "pruned", **same, **times, "median_ms": 4.0 / ratio, "images_per_s": 250.0 * ratio, **both},
    ]


def real_speed(home: Path, models: tuple[str, ...] = ("net",), **how: Any) -> Study:
    """Half and a fifth of the MACs in two roundings, of which one is masked."""
    variants: list[homes.Variant] = [
        (f"{group} final={share}", "depgraph", group, {"final": share}, {})
        for group in ("round_to=1", "round_to=32", "round_to=8")
        for share in (0.5, 0.8)
    ]
    changes = {"name": "speed", "models": list(models), "figures": ["speed"], "final_seeds": [1000], "controls": []}
    declared = homes.grid(home, variants, **changes)
    for cell, said in declared["cells"].items():
        left = 1 - float(said["settings"][0].partition("=")[2])
        homes.final(home, declared, cell, 1000, val=50.0, left=left ** (1 / 0.7), test=50.0, rounds=1)
        run = homes.run_id("speed", "final", cell, said["number"], 1000)
        rows = [*pair(0.5 + 0.5 / left, **how), *pair(0.9, wanted="auto", batch=64, mode="compiled", **how)]
        value = {"schema": 1, "id": run, "dense": said["model"], "image_size": 64, "smaller": said["number"] != 5}
        value |= {"speedup/theoretical": 1 / left, "rows": rows, "missing": [], "search": []}
        write_json(Folder(home).run(run) / "speed.json", value)
    return load(Folder(home), "speed")


def test_latencies_are_inverse_ratios_by_hand(tmp_path: Path) -> None:
    table = speed.speed(real_speed(tmp_path))
    assert len(table) == 10  # five of six configurations, two settings each
    row = table[(table["group"] == "round_to=1") & (table["mode"] == "eager")].iloc[0]
    assert row["macs_left"] == pytest.approx(0.2)
    assert (row["latency"], row["low"], row["high"]) == pytest.approx((1 / 3, 1 / 3.1, 1 / 2.9))
    assert (row["dense_ms"], row["thrown"], row["theoretical"]) == pytest.approx((4.0, 2, 5.0))


def test_masked_models_are_counted_and_left_out(tmp_path: Path) -> None:
    figure = speed.figure(real_speed(tmp_path))
    assert "1 masked models are not shown" in figure.caption
    assert "Of 10 comparisons 5 are faster" in figure.caption
    assert "unreliable" not in figure.caption


def test_a_busy_machine_is_told(tmp_path: Path) -> None:
    assert "Just before 10 of them, other work used" in speed.figure(real_speed(tmp_path, busy=0.5)).caption


def test_files_that_do_not_say_how_busy_it_was_are_read(tmp_path: Path) -> None:
    folder = real_speed(tmp_path).folder
    for path in folder.path.glob("runs/*/speed.json"):
        value = read_json(path)
        write_json(path, {**value, "rows": [{k: v for k, v in row.items() if k != "busy"} for row in value["rows"]]})
    study = load(folder, "speed")
    assert "unreliable" not in speed.figure(study).caption
    assert speed.listing(study).frame["busy"].isna().all()


def test_roundings_stand_in_their_order(tmp_path: Path) -> None:
    canvas = drawn(speed.figure(real_speed(tmp_path)))
    names = [text.get_text() for text in canvas.legends[0].get_texts()]
    assert names[:3] == ["depgraph round_to=1", "depgraph round_to=8", "depgraph round_to=32"]
    assert names[3:] == ["compiled", "eager", "proportional to MACs"]


def test_the_promise_is_the_diagonal(tmp_path: Path) -> None:
    canvas = drawn(speed.figure(real_speed(tmp_path)))
    assert all([0, 100] in [list(line.get_xdata()) for line in axes.lines] for axes in canvas.axes)


@pytest.mark.slow
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("models", [("net",), tuple(f"architecture_{i}" for i in range(8))], ids=len)
def test_the_figure_is_legible(models: tuple[str, ...], wide: bool, tmp_path: Path) -> None:
    assert_legible(drawn(speed.figure(real_speed(tmp_path, models)), wide))


def test_the_table_holds_every_comparison(tmp_path: Path) -> None:
    study = real_speed(tmp_path)
    (make,) = requested.tables(study)
    assert len(make(study).rows()) == 10
    assert "3.00 (2.90 to 3.10)" in formats.markdown(make(study))
