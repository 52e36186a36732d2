"""The prunability matrix: what a row says, and that whatever ends an examination is a row with its reason."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from bench.channels import groups
from bench.deploy import matrix, prunability
from bench.deploy.prunability import Row
from bench.errors import BenchError
from tests.toys import ToyNet

ROW = Row("vit", "vit_tiny", 32, 1000, groups=4, can_leave=0.9, tied=0.1, weights_left=0.3, masked=True, trains=True)


@pytest.fixture(scope="module")
def row() -> Row:
    return prunability.examine("test_vit", 32, "vision_transformer")


def test_a_vision_transformer_can_lose_everything(row: Row) -> None:
    assert (row.verdict, row.works, row.loosely, row.reason) == ("full", True, True, "")
    assert row.can_leave == 1.0
    assert row.groups == 1 + 6 * 2  # the residual stream; heads and hidden channels of six blocks
    assert row.inexact == 1  # the residual stream is normalised
    assert 0.2 < row.weights_left < 0.35  # a quarter, but for the first and the last layer


def test_verdicts() -> None:
    assert (ROW.verdict, ROW.works) == ("full", True)
    partial = replace(ROW, can_leave=0.8)
    assert (partial.verdict, partial.works) == ("partly", True)
    assert not replace(partial, weights_left=0.8, params_left=0.8).works
    assert replace(partial, weights_left=0.8, params_left=0.8).loosely
    for failed in (replace(ROW, masked=False), replace(ROW, trains=False), replace(ROW, groups=0)):
        assert (failed.verdict, failed.works) == ("not", False)


def test_masking_is_compared_with_removing() -> None:
    model, images = groups.ready(ToyNet(), torch.randn(2, 1, 6, 6))
    found = groups.find(model, images)
    assert prunability.masked_alike(model, images, found)
    short = [replace(found[0], members=found[0].members[:1])]
    with pytest.raises(RuntimeError):  # the next layer still reads what is gone
        prunability.masked_alike(model, images, short)


def test_what_stays_is_told_with_its_reason() -> None:
    class Recurring(ToyNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.conv2(torch.relu(self.bn1(self.conv1(x))).logcumsumexp(1))).mean((2, 3))
            return self.head(torch.relu(self.fc(x)))

    model = Recurring()
    replica, images = groups.ready(model, torch.randn(2, 1, 6, 6))
    traced = prunability.trace(replica, images)
    found = groups.prove(replica, images, traced)
    outputs = prunability._outputs(model, traced, found)
    assert outputs == {"": 16 + 64, "an operation without a rule": 8}
    reason = prunability._reason(outputs, replica, images, traced, found)
    assert reason == "9.1%: an operation without a rule"


def test_rows_are_kept_on_disk(tmp_path: Path) -> None:
    ours, file = replace(ROW, versions=prunability.versions()), tmp_path / "prunability.csv"
    matrix.Table(file).add(ours)
    table = matrix.Table(file)
    table.add(replace(ours, module="swin", model="swin_tiny", can_leave=0.5, reason='50.0%: it is "indexed", and cut'))
    assert matrix.Table(file).rows == sorted(table.rows, key=lambda r: r.module)
    assert matrix.Table(file).rows[1] == ours
    assert table.has("vit")
    assert table.has("vit_tiny")
    assert not table.has("resnet")
    assert file.read_text().count("\n") == 3


def test_rows_of_other_versions_or_of_a_shorter_limit_are_examined_again(tmp_path: Path) -> None:
    old, late = replace(ROW, versions="timm 0.9, torch 2.0"), "it took more than 60 s"
    cut = replace(ROW, module="swin", reason=late, seconds=60.0, versions=prunability.versions())
    for row in (old, cut):
        matrix.Table(tmp_path / "prunability.csv").add(row)
    assert not matrix.Table(tmp_path / "prunability.csv").has("vit")
    assert matrix.Table(tmp_path / "prunability.csv", 60).has("swin")
    assert not matrix.Table(tmp_path / "prunability.csv", 61).has("swin")


def test_one_s_own_rows_stand_before_those_that_are_stored(tmp_path: Path) -> None:
    known = matrix.stored(tmp_path / "none.csv")
    assert known == matrix.Table(matrix.STORED).rows
    own = replace(known[3], can_leave=0.125, versions="timm 9, torch 9")
    matrix.Table(tmp_path / "own.csv").add(own)
    found = matrix.stored(tmp_path / "own.csv")
    assert found[3] == own
    assert found[:3] + found[4:] == known[:3] + known[4:]


def test_counts() -> None:
    rows = [
        replace(ROW, params_left=0.4),
        replace(ROW, can_leave=0.5),
        replace(ROW, weights_left=0.8, params_left=0.95),
        replace(ROW, groups=0),
    ]
    rows.append(Row("dino", matrix.NONE, 0, 0, reason="no classification architecture"))
    assert matrix.counts(rows) == {"all": 4, "works": 2, "loosely": 1, "full": 2, "partly": 1, "not": 1}
    assert matrix.summary(rows).startswith("of 4 architectures 2 can be pruned, 1 by the looser rule")


def test_the_stored_matrix_is_whole_and_says_why_what_stays_does() -> None:
    rows = matrix.Table(matrix.STORED).rows
    assert {r.module or r.model for r in rows} >= set(matrix.modules())
    assert matrix.counts(rows)["works"] >= 70
    assert all(r.reason for r in rows if r.verdict != "full")
    assert all(r.masked and r.trains and r.groups for r in rows if r.works)
    assert [r.module for r in rows] == sorted(r.module for r in rows)


class Child:
    """A process that has sent some messages and is, or is not, alive."""

    def __init__(self, *messages: tuple[str, Any], exitcode: int | None = None) -> None:
        self.messages, self.exitcode = list(messages), exitcode
        self.name, self.model, self.since = "levit", "", time.monotonic()
        self.pipe = self.process = self

    def poll(self) -> bool:
        return bool(self.messages) or self.exitcode is not None

    def recv(self) -> tuple[str, Any]:
        if not self.messages:
            raise EOFError
        return self.messages.pop(0)

    def join(self, timeout: float) -> None:
        pass


@pytest.mark.parametrize(
    ("child", "reason"),
    [
        (Child(("model", "levit_128s"), ("failed", "ValueError: no")), "ValueError: no"),
        (Child(("model", "levit_128s"), exitcode=-9), "its process ended with exit code -9"),
        (Child(("model", "levit_128s")), "it took more than 0 s"),
    ],
)
def test_whatever_ends_an_examination_is_a_row(child: Any, reason: str) -> None:
    row = matrix._received(child, 0.0)
    assert row is not None
    assert (row.module, row.model, row.verdict, row.reason) == ("levit", "levit_128s", "not", reason)


def test_a_child_that_works_is_left_alone() -> None:
    child: Any = Child(("model", "levit_128s"))
    assert matrix._received(child, 60.0) is None
    assert child.model == "levit_128s"


def test_the_smallest_architecture_of_a_module() -> None:
    assert matrix.smallest("lcnetv2", 90) == "lcnetv2_small"
    with pytest.raises(BenchError, match="no architecture below 1 million"):
        matrix.smallest("lcnetv2", 1)


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="matches none"):
        matrix.matrix(Console(), "no such*", tmp_path, jobs=1, limit=60, largest=90, image_size=32)


@pytest.mark.slow
def test_the_matrix_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = matrix.matrix(Console(), "test_vit[23]", tmp_path, jobs=2, limit=300, largest=90, image_size=32)
    assert [r.verdict for r in rows] == ["full", "full"]
    before = os.stat(tmp_path / "prunability.csv").st_mtime_ns
    assert matrix.matrix(Console(), "test_vit[23]", tmp_path, jobs=2, limit=300, largest=90, image_size=32) == rows
    assert os.stat(tmp_path / "prunability.csv").st_mtime_ns == before


def test_layers_that_are_never_called_have_no_outputs() -> None:
    class Idle(ToyNet):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Linear(4, 4)

    model = Idle()
    replica, images = groups.ready(model, torch.randn(2, 1, 6, 6))
    traced = prunability.trace(replica, images)
    found = groups.prove(replica, images, traced)
    assert prunability._outputs(model, traced, found) == {"": 8 + 16 + 64}
    assert "idle.weight" not in {m.name for g in found for m in g.members}
