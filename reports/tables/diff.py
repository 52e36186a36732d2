"""The difference between two sets of records: which numbers changed, by how much, and whether the change exceeds noise.

<out>/diff.md, diff.html    the table, configurations of one set only, and differences in declarations and environments
      diff.csv              the table's plain values

Finals and controls are compared. Trials are not, because they only serve to select.
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
from reports.tables.columns import Column, Row, Table, fixed, p_value, settings, text
from reports.tables.comparison import signed
from reports.tables.differences import FAILED, FAMILIES, measured

IGNORED = ("name", "state", "command", "documentation", "claims", "imported_from", "cells", "baselines")
SPELLED = 3  # configurations of one method up to which they are listed one by one
COLUMNS = ["study", "kind", "cell", "settings", "metric", "n_old", "n_new", "old", "new"]
COLUMNS += ["difference", "half", "test", "p", "holm", "beyond"]


@dataclass(frozen=True)
class Diff:
    """The differences between two sets of records: the compared values, and sentences on configurations of one set only
    (``alone``) and on declarations and environments (``changes``)."""

    table: Table
    alone: tuple[str, ...]
    changes: tuple[str, ...]

    def shown(self) -> tuple[list[str], list[list[str]]]:
        """Heads and rows for a terminal: test accuracies, failures, and changes beyond noise; the files have all rows."""
        rows = [r for r in self.table.rows() if r["beyond"] == "yes" or r["metric"] in ("test top-1", FAILED)]
        left_out = {"n_new", "test", "holm"}
        if not self.table.frame.duplicated(["study", "kind", "cell", "metric"]).any():
            left_out.add("settings")
        columns = [c for c in self.table.columns if c.key not in left_out]
        return [c.head for c in columns], [[c.text(row) for c in columns] for row in rows]


def diff(old: str, new: str, home: Path, out: Path) -> Diff:
    """Compares two sets, each a folder of results or a study in ``home``, and writes the result to the folder ``out``.

    Raises:
        BenchError: a set is neither a folder nor a study, or its records cannot be read.
    """
    found = compared(read(old, home), read(new, home), f"{old} → {new}")
    write_text(out / "diff.md", markdown(found))
    write_text(out / "diff.html", fragment(found))
    write_text(out / "diff.csv", formats.csv(found.table.frame))
    return found


def read(which: str, home: Path) -> list[Study]:
    """Reads the studies of a folder of results, or the study of that name in ``home``."""
    folder, names = Folder(Path(which).expanduser()), Folder(home).studies()
    if which in names:
        return [load(Folder(home), which)]
    if not folder.path.is_dir():
        if "/" in which or not names:
            raise BenchError(
                f"--diff compares folders of results or studies, but {which} is no folder; give an existing folder"
            )
        raise one_of("folder or study", which, names)
    if not folder.studies():
        raise BenchError(f"a folder of results contains studies/, but {which} does not; give a former $BENCH_HOME")
    return [load(folder, name) for name in folder.studies()]


def compared(old: Sequence[Study], new: Sequence[Study], title: str) -> Diff:
    """Compares two sets of studies."""
    both, alone = _partners(old, new)
    rows, changes = list[dict[str, Any]](), list[str]()
    for one, other in both:
        found, lonely = _configurations(one, other)
        rows += found
        alone += lonely
        changes += _changes(one, other)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame["holm"] = math.nan
    for family in FAMILIES:
        own = frame["metric"].isin(family)
        frame.loc[own, "holm"] = holm(frame.loc[own, "p"].astype(float).tolist())
    frame.loc[frame["p"].notna() & frame["holm"].isna(), "beyond"] = "not tested"
    tested = frame["holm"].notna() & (frame["beyond"] == "")
    significant = frame["holm"] < ALPHA
    frame.loc[tested & significant, "beyond"] = "yes"
    frame.loc[tested & ~significant, "beyond"] = "no"
    return Diff(_table(frame, title), tuple(alone), tuple(changes))


def _partners(old: Sequence[Study], new: Sequence[Study]) -> tuple[list[tuple[Study, Study]], list[str]]:
    """Pairs of studies with the same name, or with the same name without the digest at its end. Two single studies are a pair
    whatever their names."""
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
    """The name of a study; its ``stem`` is without the digest."""
    if stem:
        return study.name.rpartition("-")[0]
    return study.name


def _configurations(old: Study, new: Study) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of the configurations that both studies have, by cell and settings, and sentences on those of one study only."""
    ours, theirs = _by_configuration(old), _by_configuration(new)
    rows = list[dict[str, Any]]()
    for at in sorted(ours.keys() & theirs.keys()):
        first, (kind, cell, chosen) = dicts(theirs[at])[0], at
        whose = {"study": new.name, "kind": kind, "cell": called_cell({**first, "cell": cell}), "settings": chosen}
        rows += [{**whose, **row} for row in measured(ours[at], theirs[at])]
    sides = (("old", ours.keys() - theirs.keys()), ("new", theirs.keys() - ours.keys()))
    return rows, [line for side, some in sides for line in _alone(sorted(some), side)]


def _alone(some: Sequence[tuple[str, str, str]], side: str) -> list[str]:
    """A sentence for each configuration of one set only; one sentence for many configurations of one method."""
    found, kinds = list[str](), dict[str, list[str]]()
    for kind, cell, chosen in some:
        kinds.setdefault(f"{kind} {cell.partition('/')[0]}", []).append(f"{kind} {cell} {chosen}".strip())
    for name, own in kinds.items():
        if len(own) > SPELLED:
            own = [f"{name}: {len(own)} configurations, the first of them {own[0].removeprefix(name).lstrip('/')}"]
        found += [f"{text}: only in the {side} set" for text in own]
    return found


def _by_configuration(study: Study) -> dict[tuple[str, str, str], pd.DataFrame]:
    """The ended finals and controls of each kind, cell and settings. The parameter "of" is left out: it names a run, and so
    differs by seed."""
    rows = study.entries[study.entries["kind"].isin(("final", "baseline")) & (study.entries["state"] != "running")]
    chosen = [settings({k: v for k, v in params.items() if k != "of"}) for params in rows["params"]]
    keys = rows.assign(chosen=chosen).groupby(["kind", "cell", "chosen"], sort=True)
    return {(str(kind), str(cell), str(chosen)): own for (kind, cell, chosen), own in keys}


def _changes(old: Study, new: Study) -> list[str]:
    """Sentences on differences in the declarations, and in the environments of the runs."""
    name = " → ".join(dict.fromkeys([old.name, new.name]))
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
    """A value as text of at most 200 characters; a list of one value as that value."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
    if len(value) > 200:
        return f"{value[:199]}…"
    return str(value)


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
        Column("p (Holm)", "holm", p_value, number=True),
        Column("beyond noise", "beyond", text("beyond")),
    )
    tested = [int((frame["p"].notna() & frame["metric"].isin(family)).sum()) for family in FAMILIES]
    caption = (
        f"{title}. Means over n seeds, and the difference ± half the width of its 95 % interval: paired where both sets have "
        f"the same seeds, else Welch's. Beyond noise: p below {ALPHA:g} after Holm's correction over the {tested[0]} tests "
        f"of scores, or the {tested[1]} of sizes; seconds are not tested. With three seeds only large differences reach "
        "it. A size that is equal for all seeds counts as changed wherever it differs. With one seed, noise is not known."
    )
    return Table("diff", "Differences", caption, frame, columns)


def _seeds(row: Row) -> str:
    return " → ".join(dict.fromkeys([f"{row['n_old']}", f"{row['n_new']}"]))


def _lists(found: Diff) -> Mapping[str, Sequence[str]]:
    lists = {"In one set only": found.alone, "Declared or run differently": found.changes}
    return {name: lines for name, lines in lists.items() if lines}


def markdown(found: Diff) -> str:
    """The table and the lists as Markdown."""
    lists = [
        f"## {name}\n\n" + "".join(f"- {formats.markdown_escape(line)}\n" for line in lines)
        for name, lines in _lists(found).items()
    ]
    return "\n".join([formats.markdown(found.table), *lists])


def fragment(found: Diff) -> str:
    """The table and the lists as an HTML section without a style of its own."""
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
