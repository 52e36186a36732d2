"""The evidence of the evaluation card: a study's records, and the tables and figures in its report."""

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
    """The ``state`` of a rule, a sentence with the evidence, and the name of the table or figure that shows it."""

    state: str
    evidence: str
    link: str = ""


@dataclass(frozen=True)
class Evidence:
    """A study with the data of its ``tables``, by name, and the names of its ``figures``.

    ``finals`` are the finished finals of all methods except the dense control, as rows; ``runs`` are all finished finals,
    baselines and controls.
    """

    study: Study
    tables: Mapping[str, pd.DataFrame]
    figures: frozenset[str]

    @cached_property
    def finals(self) -> list[Row]:
        """The finished finals of all methods except the dense control."""
        return [e for e in dicts(self.study.done("final")) if e["method"] != CONTROL]

    @cached_property
    def runs(self) -> list[Row]:
        """All finished finals, baselines and controls."""
        return dicts(self.study.done("final", "baseline"))

    def record(self, entry: Row) -> RunRecord:
        """The record of an entry's run."""
        return self.study.records[entry["run"]]

    def metrics(self, entry: Row) -> Metrics:
        """The metrics of an entry's run."""
        return self.record(entry).metrics

    def run(self, entry: Row) -> RunSpec:
        """The specification of an entry's run."""
        return self.record(entry).run

    def method(self, entry: Row) -> Mapping[str, Any]:
        """The fields of an entry's method."""
        return self.run(entry).method

    def samples(self, entry: Row) -> float:
        """Training images seen by an entry's run and by the training of the dense model that it starts from."""
        cost = self.record(entry).cost
        steps = float(cost.steps or 1)
        return float(cost.samples or steps) * (1 + cost.start_steps / steps)

    def dense(self, entry: Row) -> bool:
        """Whether an entry is dense training of the whole model, and not derived from another run."""
        run = self.run(entry)
        return (run.method_name or entry["method"]) == CONTROL and not run.shape

    def repetition(self, entry: Row) -> tuple[int, int]:
        """The seeds of an entry's dense model and of its own run."""
        return int(entry[DENSE]), int(entry["seed"])

    def configurations(self) -> list[list[Row]]:
        """The finals, grouped by configuration."""
        if not self.finals:
            return []
        return [dicts(own) for _, own in pd.DataFrame(self.finals).groupby(CONFIGURATION, sort=True)]

    def compared(self) -> dict[tuple[str, str], list[Row]]:
        """The finals that are compared with each other, by model and group (target, or group of variants)."""
        found: dict[tuple[str, str], list[Row]] = {}
        for entry in self.finals:
            found.setdefault((entry["model"], entry["group"]), []).append(entry)
        return found

    def link(self, *names: str) -> str:
        """The first of these tables and figures that the report shows; else the facts."""
        return next(filter(self.shown, names), "facts")

    def shown(self, name: str) -> bool:
        """Whether the report has a table of this name with rows, or a figure."""
        return bool(len(self.tables.get(name, ()))) or name in self.figures

    def printed(self, *columns: str) -> str:
        """The first table with all these columns, and a value in each of them; "" where there is none."""
        for name, frame in self.tables.items():
            if all(c in frame and frame[c].notna().any() for c in columns):
                return name
        return ""


Check = Callable[[Evidence], Verdict]


def of_finals(check: Check) -> Check:
    """A check that does not apply before a final has a result."""

    @wraps(check)
    def checked(found: Evidence) -> Verdict:
        if not found.finals:
            return Verdict(NONE, "no final has a result yet", "facts")
        return check(found)

    return checked


def judged(met: bool, evidence: str, link: str = "facts") -> Verdict:
    """A verdict: met or not."""
    return Verdict(STATES[met], evidence, link)


STATES = {True: MET, False: UNMET}


def listed(values: list[str], most: int = 3) -> str:
    """The first ``most`` of several names, and the number of the others."""
    if len(values) <= most:
        return ", ".join(values)
    return f"{', '.join(values[:most])} and {len(values) - most} more"


def lacking(names: list[str], what: str, otherwise: str) -> str:
    """What is lacking, as text: "missing: a, b"; ``otherwise`` where nothing is."""
    if not names:
        return otherwise
    return f"{what}: {', '.join(names)}"


def also(count: int, text: str) -> str:
    """A further clause of a sentence, such as "; 3 records name another seed"; "" where the count is 0."""
    if not count:
        return ""
    return f"; {count} {text}"
