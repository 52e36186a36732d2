"""Times in turns, by hand; what is written beside a record; nothing here asserts how long anything takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from bench import environment
from bench.deploy import speed_record, two_four
from bench.deploy.speed import chosen, measure, of_study, tables, verdict
from bench.deploy.speed_record import Measured, SpeedRequest
from bench.errors import BenchError, MissingData
from bench.measure import semistructured, speed, turns
from bench.measure.turns import Block, Round, alternate, summary
from bench.models.factory import create
from bench.records.home import Home
from bench.records.speed_record import SpeedRecord, SpeedRow
from bench.records.study_record import Entry
from bench.run import new_run
from bench.training.execute import execute
from tests.records import study_record

CPU = torch.device("cpu")


def block(*times: float, clock: int | None = None) -> Block:
    return Block(times, clock)


def test_blocks_come_in_turns_until_the_time_is_up() -> None:
    order, ticks = list[str](), iter(range(100))

    def made(letter: str) -> Callable[[], Block]:
        return lambda: (order.append(letter), block(1.0))[1]

    rounds = alternate(made("A"), made("B"), seconds=7, now=lambda: next(ticks))
    assert "".join(order) == "AB" + "ABBA" * 7
    assert len(rounds) == 7
    assert len(alternate(made("A"), made("B"), seconds=0, now=lambda: 0.0)) == turns.FEWEST


def test_each_block_lands_on_its_own_side() -> None:
    numbers = iter(range(100))
    first, second = (lambda: block(next(numbers)) for _ in range(2))
    (one, *_) = alternate(first, second, seconds=0, now=lambda: 0.0)
    assert one == Round((block(2), block(5)), (block(3), block(4)))


def test_ratios_by_hand() -> None:
    rounds = [
        Round((block(4, 4, 9), block(4)), (block(2), block(2, 1, 2))),
        Round((block(6), block(6)), (block(2), block(2))),
        Round((block(1), block(1)), (block(1), block(1))),
    ]
    first, second, both = summary(rounds)
    assert both == {"ratio": 2.0, "ratio_q1": 1.5, "ratio_q3": 2.5, "rounds": 3}
    assert (first["median_ms"], first["n"], first["thrown"], first["clock_mhz"]) == (4.0, 8, 0, None)
    assert (second["median_ms"], second["n"]) == (2.0, 8)


def test_a_drift_of_the_machine_cancels() -> None:
    slower = (float(n) for n in range(1, 200))

    def step() -> Block:
        return block(next(slower))

    _, _, both = summary(alternate(step, step, seconds=0, now=lambda: 0.0))
    assert both["ratio"] == both["ratio_q1"] == both["ratio_q3"] == 1.0


def test_throttled_blocks_are_thrown_away_and_counted() -> None:
    slow = Round((block(2, clock=1000), block(9, clock=949)), (block(1, clock=1000), block(1, clock=951)))
    good = Round((block(2, clock=1000), block(2, clock=1000)), (block(1, clock=1000), block(1, clock=950)))
    first, second, both = summary([slow, good])
    assert (first["n"], first["thrown"], first["q3_ms"], first["clock_mhz"]) == (3, 1, 2.0, 1000.0)
    assert (second["n"], second["thrown"]) == (4, 0)
    assert (both["ratio"], both["rounds"]) == (2.0, 1)  # of the other round not all is there


def test_a_clock_that_never_holds_is_no_measurement() -> None:
    rounds = [Round((block(1, clock=1000), block(1, clock=500)), (block(1, clock=500), block(1, clock=500)))] * 5
    with pytest.raises(BenchError, match=r"none of 5 rounds stayed above 95% of its highest \(1000 MHz\)"):
        summary(rounds)


def test_throttled_rounds_are_repeated_but_not_for_ever() -> None:
    clocks: Iterator[int] = iter([1000] * 2 + [1000] + [500] * 15 + [1000] * 100)
    ticks = iter(range(100))
    rounds = alternate(
        lambda: block(1, clock=next(clocks)), lambda: block(1, clock=next(clocks)), seconds=5, now=lambda: next(ticks)
    )
    assert len(rounds) == 9  # four throttled, five steady
    assert len(turns.steady(rounds)) == 5
    ticks, odd = iter(range(100)), iter([1000, 500] * 500)

    def never() -> Block:
        return block(1, clock=next(odd))

    assert len(alternate(never, never, seconds=5, now=lambda: next(ticks))) == 15


class Noting(nn.Module):
    """Notes who is called, in what precision and layout."""

    def __init__(self, name: str, calls: list[tuple[object, ...]]) -> None:
        super().__init__()
        self.name, self.calls, self.layer = name, [calls], nn.Linear(4, 2)

    def __deepcopy__(self, memo: object) -> Noting:
        return Noting(self.name, self.calls[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls[0].append((self.name, len(x), x.dtype, self.layer.weight.dtype, torch.is_inference_mode_enabled()))
        assert not self.training
        out: torch.Tensor = self.layer(x.flatten(1))
        return out


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_both_models_are_called_alike(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "fast_bf16", lambda: True)
    calls = list[tuple[object, ...]]()
    bed = speed.Bed((1, 2, 2), CPU)
    setting = speed.Setting(3, precision)
    rows = speed.compare(Noting("d", calls), Noting("p", calls), bed, setting, seconds=0)
    dtype = speed.PRECISIONS[precision]
    assert {call[1:] for call in calls} == {(3, dtype, dtype, True)}
    names = [call[0] for call in calls]
    assert names.count("d") == names.count("p") >= 3 + 2 * 11  # warm-up, then a cold and a timed call to each block
    assert [row["model"] for row in rows] == ["dense", "pruned"]
    assert "ratio" in rows[1]
    assert "ratio" not in rows[0]
    for row in rows:
        assert row["q1_ms"] <= row["median_ms"] <= row["q3_ms"]
        assert row["images_per_s"] == pytest.approx(3000 / row["median_ms"])
        json.dumps(row, allow_nan=False)


def test_emulated_bf16_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "fast_bf16", lambda: False)
    with pytest.raises(BenchError, match="no bf16 arithmetic"):
        speed.compare(nn.Flatten(), nn.Flatten(), speed.Bed((1, 2, 2), CPU), speed.Setting(1, "bf16"), seconds=0)


def test_a_model_that_cannot_be_compiled_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: nn.Module, dynamic: bool) -> Callable[[torch.Tensor], torch.Tensor]:
        def call(x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no compiler. A long story")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    setting = speed.Setting(1, "fp32", "compiled")
    with pytest.raises(BenchError, match=r"able to compile the model, but got ValueError: no compiler$"):
        speed.compare(nn.Flatten(), nn.Flatten(), speed.Bed((1, 2, 2), CPU), setting, seconds=0)


def test_the_best_batch_is_the_smallest_near_the_highest_throughput() -> None:
    rates = {1: 100.0, 2: 180.0, 4: 297.0, 8: 300.0, 16: 290.0}
    assert speed.pick([{"batch": b, "images_per_s": r} for b, r in rates.items()]) == 4
    batch, tried = speed.best_batch(nn.Flatten(), speed.Bed((1, 2, 2), CPU), "fp32")
    assert [row["batch"] for row in tried] == [2**i for i in range(len(tried))]
    assert batch == speed.pick(tried)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batches": ("1", "best")}, "numbers or auto"),
        ({"precisions": ("fp23",)}, "fp32"),
        ({"modes": ("fast",)}, "eager"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, tuple[str, ...]], told: str) -> None:
    with pytest.raises(BenchError, match=told):
        SpeedRequest(**changes)  # type: ignore[arg-type]


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


def test_two_of_four_are_kept_and_they_are_the_largest() -> None:
    weight = torch.tensor([[1.0, -4.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0], [5.0, 5.0, 5.0, 5.0, -1.0, 2.0, -3.0, 4.0]])
    mask = semistructured.two_four(weight)
    assert mask[0, :4].tolist() == [False, True, False, True]
    assert mask[1, 4:].tolist() == [False, False, True, True]
    assert set(mask.reshape(-1, 4).sum(1).tolist()) == {2}
    with pytest.raises(BenchError, match="multiple of 4"):
        semistructured.two_four(torch.ones(2, 6))


def test_two_four_needs_a_gpu_and_says_so(own_place: Path) -> None:
    with pytest.raises(BenchError, match=r"need a CUDA GPU of compute capability 8.0"):
        two_four.two_four(Console(), "cpu", 0.0)


def test_wins_and_losses_are_both_told() -> None:
    assert [two_four.verdict({"ratio_q1": a, "ratio_q3": b}) for a, b in ((1.1, 1.2), (0.8, 0.9), (0.9, 1.1))] == [
        "win",
        "loss",
        "unclear",
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_models_are_timed_as_well() -> None:
    model, size = create("test_resnet", classes=10, channels=1, image_size=16, seed=0)
    found = speed.compare(model, model, speed.Bed((1, size, size), CPU), speed.Setting(2, mode="compiled"), seconds=0)
    assert [row["mode"] for row in found] == ["compiled"] * 2


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")
def test_on_a_gpu() -> None:
    device = torch.device("cuda", 0)
    model, size = create("test_resnet", classes=10, channels=1, image_size=16, seed=0)
    bed = speed.Bed((1, size, size), device)
    for precision in speed.PRECISIONS:
        rows = speed.compare(model, model, bed, speed.Setting(8, precision), seconds=0.1)
        assert rows[1]["rounds"] >= 1
    assert speed.best_batch(model, bed, "fp32")[0] >= 1


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", sorted(semistructured.DTYPES))
def test_two_four_on_a_gpu(dtype: str) -> None:
    device = torch.device("cuda", 0)
    if torch.cuda.get_device_capability(device) < semistructured.NEEDED:
        pytest.skip("needs compute capability 8.0")
    row = semistructured.compare(semistructured.Layer("fc", 256, 128, 64), device, dtype, seconds=0.1)
    assert row["ratio_q1"] <= row["ratio"] <= row["ratio_q3"]
    assert row["backend"] in ("cutlass", "cusparselt")
