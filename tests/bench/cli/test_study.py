"""What each option of `bench study` and `bench compare` changes in the study."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, get_type_hints

import pytest

from bench.cli import conducting, main
from bench.cli.study import ComparisonQuestion, Question, Sets, TuningQuestion
from bench.study.study import Study

GIVEN: dict[str, tuple[str, str, Any]] = {
    "task": ("mnist", "task", "mnist"),
    "models": ("resnet18,vgg", "models", ("resnet18", "vgg")),
    "targets": ("0.5,0.9", "targets", (0.5, 0.9)),
    "trials": ("7", "trials", 7),
    "finals": ("2", "finals", 2),
    "final_seeds": ("5,6", "final_seeds", (5, 6)),
    "cost": ("macs/fraction", "cost", "macs/fraction"),
    "sampler": ("qmc", "sampler", "qmc"),
    "seed": ("0", "seed", 0),
    "derived": ("rewound,scratch_macs", "derived", ("rewound", "scratch_macs")),
    "dense_seeds": ("1,2", "dense_seeds", (1, 2)),
    "recoveries": ("none,lr", "recoveries", ("none", "lr")),
    "unsafe_start": ("", "unsafe_start", True),
    "sanity": ("reinit", "derived", ("random_ratios", "reinit")),
}
"""For each option its text on the command line ("" of a flag), and the field of the study with the value that it sets."""


def options_of(question: type[Question]) -> list[str]:
    """The options that change the study."""
    hints = get_type_hints(question, include_extras=True)
    return [
        f.name for f in dataclasses.fields(question) if any(isinstance(m, Sets) for m in hints[f.name].__metadata__)
    ]


def changes(command: str, *words: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command line gives to the study's plug-in."""
    found = list[dict[str, Any]]()

    def declare(name: str, methods: tuple[str, ...], changes: dict[str, Any], *, smoke: bool) -> Study:
        found.append(changes)
        return None  # type: ignore[return-value]

    monkeypatch.setattr(conducting, "declare", declare)
    monkeypatch.setattr(conducting, "begun", lambda _: True)
    monkeypatch.setattr(conducting, "compute", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["bench", command, *words])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert not end.value.code
    return found[0]


CASES = [
    *(("study", option) for option in options_of(TuningQuestion)),
    *(("compare", option) for option in options_of(ComparisonQuestion)),
]


@pytest.mark.parametrize(("command", "option"), CASES)
def test_an_option_changes_one_field(command: str, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, field, value = GIVEN[option]
    found = changes(command, "sap", f"--{option.replace('_', '-')}", *filter(None, [text]), monkeypatch=monkeypatch)
    assert found == {"settings": (), field: value}
    assert field in {f.name for f in dataclasses.fields(Study)}


@pytest.mark.parametrize("command", ["study", "compare"])
def test_options_that_are_not_given_change_nothing(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert changes(command, "sap", monkeypatch=monkeypatch) == {"settings": ()}
    assert changes(command, "lr=0.1", "epochs=2", monkeypatch=monkeypatch) == {"settings": ("lr=0.1", "epochs=2")}


def test_controls_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert changes("study", "sap", "--derived", "none", monkeypatch=monkeypatch)["derived"] == ()
