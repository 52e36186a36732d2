"""Speed records of runs and of studies; no test asserts a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from rich.console import Console

from bench.deploy import speed_record
from bench.deploy.speed import chosen, measure, of_study, tables, verdict
from bench.deploy.speed_record import Measured, SpeedRequest
from bench.errors import MissingData
from bench.records.home import Home
from bench.records.speed_record import SpeedRecord, SpeedRow
from bench.records.study_record import Entry
from bench.run import new_run
from bench.training.execute import execute
from tests.records import study_record

CPU = torch.device("cpu")


QUICK = SpeedRequest(batches=("1",), precisions=("fp32",), modes=("eager",), seconds=0.0, device="cpu")


def finished(method: str, *settings: str) -> str:
    own = ("model=test_resnet", "epochs=0.1", "batch=256", "device=cpu", "image_size=16", *settings)
    return execute(new_run(method, own), Home()).id


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_smaller_model_and_a_masked_one() -> None:
    home, console = Home(), Console(width=160, record=True)
    small, masked = finished("depgraph", "final=0.5"), finished("gradual", "final=0.9")
    measure(console, home, chosen(home, [small, masked]), QUICK)
    one, other = home.records.speed(small), home.records.speed(masked)
    assert one is not None
    assert other is not None
    assert (one.smaller, other.smaller) == (True, False)
    assert [row.model for row in one.rows] == ["dense", "pruned"]
    assert one.speedup_theoretical == pytest.approx(2, rel=0.03)
    shown = console.export_text()
    assert shown.count("theoretical only") == 1  # never faster, whatever was measured
    before = home.records.run(small).joinpath("speed.json").read_bytes()
    measure(console, home, chosen(home, [small]), QUICK)
    assert home.records.run(small).joinpath("speed.json").read_bytes() == before
    measure(console, home, chosen(home, [small]), SpeedRequest(("1", "auto"), ("fp32",), ("eager",), 0.0, "cpu"))
    more = home.records.speed(small)
    assert more is not None
    assert more.rows[:2] == one.rows
    assert [row.wanted for row in more.rows] == ["1", "1", "auto", "auto"]
    assert more.search[0].batch == more.rows[-1].batch
    searches = speed_record.known_searches(home, [small])
    again = Measured(home, masked, CPU, SpeedRequest(("auto",), ("fp32",), ("eager",), 0.0, "cpu"), searches)
    again.add("fp32", "eager", "auto")  # the same dense model: the same batch, without a search
    assert again.value.search[0].tried == more.search[0].tried


def test_a_masked_model_is_never_called_faster() -> None:
    row = SpeedRow("pruned", 1, "1", "fp32", "eager", "cpu", ratio=3.0, ratio_q1=2.9, ratio_q3=3.1)
    masked, smaller = (SpeedRecord(1, "a", "net", 8, smaller=smaller) for smaller in (False, True))
    assert verdict(masked, row) == "theoretical only"
    assert verdict(smaller, row) == "faster"
    assert verdict(smaller, replace(row, ratio_q1=0.9)) == "unclear"
    assert verdict(smaller, replace(row, ratio=0.8, ratio_q1=0.7, ratio_q3=0.9)) == "slower"


def test_of_a_study_one_seed_of_each_configuration() -> None:
    home = Home()
    home.records.write_study(study_record("s"))
    for kind, cell, seed, state in (
        ("final", "a/m", 1001, "finished"),
        ("final", "a/m", 1000, "failed"),
        ("final", "b/m", 1001, "finished"),
        ("final", "b/m", 1000, "finished"),
        ("trial", "c/m", 1000, "finished"),
        ("baseline", "dense/m", 1000, "finished"),
    ):
        home.records.write_entry("s", Entry(kind, cell, 0, seed, f"{cell[0]}{seed}", state=state))
    assert of_study(home, "s") == {"a1001": "a/m", "b1000": "b/m"}
    assert chosen(home, ["s"]) == of_study(home, "s")
    with pytest.raises(MissingData, match="is neither"):
        chosen(home, ["nothing"])


def test_runs_that_are_not_there_are_told_and_the_others_go_on() -> None:
    console = Console(width=160, record=True)
    measure(console, Home(), {"gone": "gone"}, QUICK)
    assert "gone: speed is measured of a finished run" in console.export_text()
    assert not list(tables(Home(), {"gone": "gone"}))
