"""What the evaluation card judges by: a study's records, and which tables and figures the report shows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any

import pandas as pd

from bench.records.run_record import Metrics, RunRecord, RunSpec
from reports.load.records import CONFIGURATION, CONTROL, DENSE, Study, dicts

MET, UNMET, NONE = "met", "not met", "not applicable"
Row = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """Whether a rule is met, what says so, and the table or figure to look at."""

    state: str
    evidence: str
    link: str = ""


@dataclass(frozen=True)
class Evidence:
    """A study with the ``tables`` (their data) and the ``figures`` that were made of it, by name.

    ``finals`` are the finished finals of all methods but the dense control, as rows; ``runs`` those and all else that has
    finished on the final seeds.
    """

    study: Study
    tables: Mapping[str, pd.DataFrame]
    figures: frozenset[str]

    @cached_property
    def finals(self) -> list[Row]:
        """The finals that have a result."""
        return [e for e in dicts(self.study.done("final")) if e["method"] != CONTROL]

    @cached_property
    def runs(self) -> list[Row]:
        """Finals, controls and whatever was injected, that have a result."""
        return dicts(self.study.done("final", "baseline"))

    def record(self, entry: Mapping[str, Any]) -> RunRecord:
        """The record of an entry's run."""
        return self.study.records[entry["run"]]

    def metrics(self, entry: Mapping[str, Any]) -> Metrics:
        """What was measured of it."""
        return self.record(entry).metrics

    def run(self, entry: Mapping[str, Any]) -> RunSpec:
        """Its fields."""
        return self.record(entry).run

    def method(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields of its method."""
        return self.run(entry).method

    def samples(self, entry: Mapping[str, Any]) -> float:
        """Training images that it saw, with those of the training that it began from."""
        cost = self.record(entry).cost
        steps = float(cost.steps or 1)
        return float(cost.samples or steps) * (1 + cost.start_steps / steps)

    def dense(self, entry: Mapping[str, Any]) -> bool:
        """Whether it is plain training of the whole model, and follows from no other run."""
        run = self.run(entry)
        return (run.method_name or entry["method"]) == CONTROL and not run.shape

    def repetition(self, entry: Mapping[str, Any]) -> tuple[int, int]:
        """The seeds of its dense model and of itself."""
        return int(entry[DENSE]), int(entry["seed"])

    def configurations(self) -> list[list[Row]]:
        """The finals, those of one configuration together."""
        frame = pd.DataFrame(self.finals)
        return [dicts(own) for _, own in frame.groupby(CONFIGURATION, sort=True)] if len(frame) else []

    def compared(self) -> dict[tuple[str, str], list[Row]]:
        """The finals that stand beside each other: of one model, at one target or in one group."""
        found: dict[tuple[str, str], list[Row]] = {}
        for entry in self.finals:
            found.setdefault((entry["model"], entry["group"]), []).append(entry)
        return found

    def link(self, *names: str) -> str:
        """The first of these tables and figures that is shown; else the facts."""
        return next((n for n in names if len(self.tables.get(n, ())) or n in self.figures), "facts")

    def printed(self, *columns: str) -> str:
        """The first table that has all these columns, with a value in each; "" where none has."""
        for name, frame in self.tables.items():
            if all(c in frame and frame[c].notna().any() for c in columns):
                return name
        return ""


Check = Callable[[Evidence], Verdict]


def of_finals(check: Check) -> Check:
    """A check that has nothing to judge before a final has a result."""

    @wraps(check)
    def checked(found: Evidence) -> Verdict:
        return check(found) if found.finals else Verdict(NONE, "no final has a result yet", "facts")

    return checked


def judged(met: bool, evidence: str, link: str = "facts") -> Verdict:
    """Met, or not."""
    return Verdict(MET if met else UNMET, evidence, link)


def listed(values: list[str], most: int = 3) -> str:
    """A few of several names, and how many more there are."""
    rest = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(values[:most]) + rest


def counted(count: int, what: str) -> str:
    """A number of things: "1 run", "2 runs"."""
    return f"{count} {what}{'' if count == 1 else 's'}"
