"""Two sets of records side by side: what changed, by how much, and whether that is beyond noise.

<out>/diff.md, diff.html    the table, what is in one set only, and what is declared or was run differently
      diff.csv              the table's plain values

Finals and controls are compared; trials are not: what they are for is to choose.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.errors import BenchError, one_of
from bench.records.files import write_text
from bench.records.folder import Folder
from reports.load.records import Study, called_cell, dicts, load
from reports.statistics.paired import ALPHA, holm
from reports.tables import formats
from reports.tables.columns import Column, Row, Table, fixed, settings, text
from reports.tables.comparison import signed
from reports.tables.differences import FAILED, measured

IGNORED = ("name", "state", "command", "documentation", "claims", "imported_from", "cells", "baselines")
SPELLED = 3  # configurations of one method that are listed one by one
COLUMNS = ["study", "kind", "cell", "settings", "metric", "n_old", "n_new", "old", "new"]
COLUMNS += ["difference", "half", "test", "p", "holm", "beyond"]


@dataclass(frozen=True)
class Diff:
    """What two sets of records differ in: compared values, configurations of one set only, and other changes, each in a
    sentence."""

    table: Table
    alone: tuple[str, ...]
    changes: tuple[str, ...]

    def shown(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows for a terminal: test accuracies, failures, and all that is beyond noise; the files have the rest."""
        rows = [r for r in self.table.rows() if r["beyond"] == "yes" or r["metric"] in ("test top-1", FAILED)]
        several = self.table.frame.duplicated(["study", "kind", "cell", "metric"]).any()
        left_out = {"n_new", "test", "holm", *(() if several else ("settings",))}
        columns = [c for c in self.table.columns if c.key not in left_out]
        return [c.head for c in columns], [[c.text(row) for c in columns] for row in rows]


def diff(old: str, new: str, home: Path, out: Path) -> Diff:
    """Compare two sets, each a folder of results or a study in ``home``, and write what came of it to the folder ``out``.

    Raises:
        BenchError: one of them is neither, or its records cannot be read.
    """
    found = compared(read(old, home), read(new, home), f"{old} → {new}")
    write_text(out / "diff.md", markdown(found))
    write_text(out / "diff.html", fragment(found))
    write_text(out / "diff.csv", formats.csv(found.table.frame))
    return found


def read(which: str, home: Path) -> list[Study]:
    """The studies of a folder of results, or the one study of that name in ``home``."""
    folder, names = Folder(Path(which).expanduser()), Folder(home).studies()
    if which in names:
        return [load(Folder(home), which)]
    if not folder.home.is_dir():
        if "/" in which or not names:
            raise BenchError(
                f"--diff compares folders of results or studies, but {which} is no folder; give one that is there"
            )
        raise one_of("folder or study", which, names)
    if not folder.studies():
        raise BenchError(f"a folder of results holds studies/, but {which} has none; give what was $BENCH_HOME")
    return [load(folder, name) for name in folder.studies()]


def compared(old: Sequence[Study], new: Sequence[Study], title: str) -> Diff:
    """Both sets, study by study."""
    both, alone = _partners(old, new)
    rows, changes = list[dict[str, Any]](), list[str]()
    for one, other in both:
        found, lonely = _configurations(one, other)
        rows += found
        alone += lonely
        changes += _changes(one, other)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame["holm"] = holm(frame["p"].astype(float).tolist())
    known = ["" if math.isnan(p) else "yes" if p < ALPHA else "no" for p in frame["holm"]]
    frame["beyond"] = [said or now for said, now in zip(frame["beyond"], known, strict=True)]
    return Diff(_table(frame, title), tuple(alone), tuple(changes))


def _partners(old: Sequence[Study], new: Sequence[Study]) -> tuple[list[tuple[Study, Study]], list[str]]:
    """Studies of one name, or of one name but for the digest at its end; two single ones are compared whatever their names."""
    if len(old) == len(new) == 1:
        return [(old[0], new[0])], []
    found, left, right = list[tuple[Study, Study]](), list(old), list(new)
    for stem in (False, True):
        for one in list(left):
            same = [s for s in right if _called(s, stem) == _called(one, stem)]
            if len(same) == 1 and sum(_called(s, stem) == _called(one, stem) for s in left) == 1:
                found.append((one, same[0]))
                left.remove(one)
                right.remove(same[0])
    sides = (("the old", left), ("the new", right))
    alone = [f"study {s.name}: only in {side} set" for side, some in sides for s in some]
    return sorted(found, key=lambda pair: pair[1].name), alone


def _called(study: Study, stem: bool) -> str:
    return study.name.rpartition("-")[0] if stem else study.name


def _configurations(old: Study, new: Study) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of what both studies have, by cell and settings, and sentences on what only one has."""
    ours, theirs = _by_configuration(old), _by_configuration(new)
    rows = list[dict[str, Any]]()
    for at in sorted(ours.keys() & theirs.keys()):
        first, (kind, cell, chosen) = dicts(theirs[at])[0], at
        whose = {"study": new.name, "kind": kind, "cell": called_cell({**first, "cell": cell}), "settings": chosen}
        rows += [{**whose, **row} for row in measured(ours[at], theirs[at])]
    sides = (("old", ours.keys() - theirs.keys()), ("new", theirs.keys() - ours.keys()))
    return rows, [line for side, some in sides for line in _alone(sorted(some), side)]


def _alone(some: Sequence[tuple[str, str, str]], side: str) -> list[str]:
    """A sentence for each configuration that only one set has; of many of one method, one for all."""
    found, kinds = list[str](), dict[str, list[str]]()
    for kind, cell, chosen in some:
        kinds.setdefault(f"{kind} {cell.partition('/')[0]}", []).append(f"{kind} {cell} {chosen}".strip())
    for name, own in kinds.items():
        many = f"{name}: {len(own)} configurations, the first of them {own[0].removeprefix(name).lstrip('/')}"
        found += [f"{text}: only in the {side} set" for text in (own if len(own) <= SPELLED else [many])]
    return found


def _by_configuration(study: Study) -> dict[tuple[str, str, str], pd.DataFrame]:
    rows = study.entries[study.entries["kind"].isin(("final", "baseline")) & (study.entries["state"] != "running")]
    chosen = [
        settings({k: v for k, v in params.items() if k != "of"}) for params in rows["params"]
    ]  # a run has its seed
    keys = rows.assign(chosen=chosen).groupby(["kind", "cell", "chosen"], sort=True)
    return {(str(kind), str(cell), str(chosen)): own for (kind, cell, chosen), own in keys}


def _changes(old: Study, new: Study) -> list[str]:
    """What is declared, or was run with, in another way; cells are compared by their configurations."""
    name = new.name if old.name == new.name else f"{old.name} → {new.name}"
    before, after = _facts(old), _facts(new)
    return [
        f"{name}: {key} was {_brief(before.get(key))}, is {_brief(after.get(key))}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _facts(study: Study) -> dict[str, Any]:
    """The declaration, and code, versions and machines of the runs."""
    found = {key: value for key, value in study.declared.to_json().items() if key not in IGNORED}
    for key in ("commit", "versions", "hardware", "device"):
        known = [getattr(record.provenance, key) for record in study.records.values()]
        values = {json.dumps(value, sort_keys=True) for value in known if value}
        found[f"the runs' {key}"] = [json.loads(value) for value in sorted(values)]
    return found


def _brief(value: Any) -> str:
    shown = value[0] if isinstance(value, list) and len(value) == 1 else value
    said = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
    return said if len(said) <= 200 else f"{said[:199]}…"


def _table(frame: pd.DataFrame, title: str) -> Table:
    columns = (
        Column("cell", "cell", text("cell")),
        Column("settings", "settings", text("settings"), long=True, paper=False),
        Column("metric", "metric", text("metric")),
        Column("n", "n_new", _seeds, number=True),
        Column("old", "old", fixed("old", 2), number=True),
        Column("new", "new", fixed("new", 2), number=True),
        Column("difference", "difference", signed("difference", "half"), number=True),
        Column("test", "test", text("test")),
        Column(
            "p (Holm)", "holm", lambda row: "< 0.001" if row["holm"] < 0.001 else fixed("holm", 3)(row), number=True
        ),
        Column("beyond noise", "beyond", text("beyond")),
    )
    tested = int(frame["p"].notna().sum())
    caption = (
        f"{title}. Means over n seeds, and the difference ± half the width of its 95 % interval: of pairs where both have the "
        f"same seeds, else Welch's. Beyond noise: p below {ALPHA:g}, corrected by Holm over all {tested} tests here; with "
        "three seeds only large differences are. A size that no seed moves is a change wherever it differs. One seed says "
        "nothing of noise."
    )
    return Table("diff", "Differences", caption, frame, columns)


def _seeds(row: Row) -> str:
    return f"{row['n_old']}" if row["n_old"] == row["n_new"] else f"{row['n_old']} → {row['n_new']}"


def _lists(found: Diff) -> Mapping[str, Sequence[str]]:
    lists = {"In one set only": found.alone, "Declared or run differently": found.changes}
    return {name: lines for name, lines in lists.items() if lines}


def markdown(found: Diff) -> str:
    """All of it as Markdown."""
    lists = [
        f"## {name}\n\n" + "".join(f"- {formats.markdown_escape(line)}\n" for line in lines)
        for name, lines in _lists(found).items()
    ]
    return "\n".join([formats.markdown(found.table), *lists])


def fragment(found: Diff) -> str:
    """All of it as a piece of HTML, without a style of its own."""
    columns, escape = found.table.columns, html.escape
    head = "".join(f"<th>{escape(c.head)}</th>" for c in columns)
    rows = ["".join(f"<td>{escape(c.text(row))}</td>" for c in columns) for row in found.table.rows()]
    body = "\n".join(f"<tr>{cells}</tr>" for cells in rows)
    lists = "".join(
        f"<h3>{escape(name)}</h3>\n<ul>\n" + "".join(f"<li>{escape(line)}</li>\n" for line in lines) + "</ul>\n"
        for name, lines in _lists(found).items()
    )
    caption = f"<p>{escape(found.table.caption)}</p>"
    return f'<section class="diff">\n{caption}\n<table>\n<tr>{head}</tr>\n{body}\n</table>\n{lists}</section>\n'
