"""The card's rules 1 to 10: baselines and controls, equal recipes and costs, equal tuning, use of the test split."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pandas as pd

from bench.records import leakage
from bench.records.run_record import UNSAFE
from reports.card.evidence import MET, NONE, UNMET, Evidence, Verdict, also, judged, lacking, listed, of_finals
from reports.tables.columns import counted

SCRATCH = ("scratch_epochs", "scratch_macs")
SAME = 1.01  # costs up to one per cent apart count as equal


@of_finals
def same_start(found: Evidence) -> Verdict:
    """Rule 1: for each model and seed, all methods start from the same trained weights."""
    link, starts = found.link("runs"), dict[tuple[Any, ...], set[str]]()
    able = [e for e in found.finals if found.record(e).architecture == e["model"]]
    for entry in able:
        record = found.record(entry)
        start = record.identity.get("start") or record.run.start
        starts.setdefault((entry["model"], *found.repetition(entry)), set()).add(start)
    without = sum("" in own for own in starts.values())
    if without:
        many = f"in {without} of {counted(len(starts), 'pair')} of model and seed"
        return Verdict(UNMET, f"{many} a method starts from an initialisation, not from trained weights", link)
    apart = [f"{model} seed {seed}" for (model, _, seed), own in starts.items() if len(own) > 1]
    if apart:
        return Verdict(UNMET, f"methods start from different weights: {listed(apart)}", link)
    unsafe = sum(UNSAFE in found.record(e).label for e in found.finals)
    if unsafe:
        text = f"{unsafe} of {counted(len(found.finals), 'final')} start from weights that may have seen validation or test"
        return Verdict(UNMET, text, link)
    missing = sorted({e["model"] for e in found.finals} - {e["model"] for e in found.runs if found.dense(e)})
    if missing:
        return Verdict(UNMET, f"the dense accuracy is missing: {listed(missing)}", link)
    names = sorted({start for own in starts.values() for start in own})
    return judged(
        bool(names), f"one start in each of {counted(len(starts), 'pair')} of model and seed: {listed(names, 2)}", link
    )


@of_finals
def dense_control(found: Evidence) -> Verdict:
    """Rule 2: a dense model was trained on as many images as the methods."""
    longest: dict[str, float] = {}
    for entry in found.runs:
        if found.dense(entry):
            longest[entry["model"]] = max(longest.get(entry["model"], 0.0), found.samples(entry))
    short = sorted({e["model"] for e in found.finals if SAME * longest.get(e["model"], 0.0) < found.samples(e)})
    link = found.link("finals")
    if short:
        return Verdict(UNMET, f"no dense control was trained for as long as the methods on {listed(short)}", link)
    most = max(map(found.samples, found.finals))
    return Verdict(
        MET, f"dense training of {counted(len(longest), 'model')} sees no fewer images ({most:.0f} at most)", link
    )


@of_finals
def from_scratch(found: Evidence) -> Verdict:
    """Rule 3: the pruned shape was trained from an initialisation, for as many epochs and for as many MACs."""
    counts = {name: sum(e["method"] == name for e in found.runs) for name in SCRATCH}
    told = ", ".join(f"{counted(n, 'run')} of {name}" for name, n in counts.items())
    return judged(all(counts.values()), told, found.link("sanity", "finals"))


@of_finals
def simple_baselines(found: Evidence) -> Verdict:
    """Rule 4: random pruning, random pruning with the method's own ratios, uniform and global magnitude pruning."""
    scores = [
        (m.get("criterion") or m.get("importance"), m.get("allocation") or m.get("scope"))
        for m in map(found.method, found.runs)
    ]
    shuffled = [e for e in found.runs if found.run(e).shape.startswith("shuffled:")]
    seen = {
        "random": any(score == "random" for score, _ in scores),
        "random with a method's own ratios": bool(shuffled),
        "magnitude, uniform": ("magnitude", "uniform") in scores,
        "magnitude, global": ("magnitude", "global") in scores,
    }
    missing = [name for name, there in seen.items() if not there]
    text = lacking(missing, "missing", f"all four, {counted(len(shuffled), 'run')} with methods' own ratios")
    if len(found.tables.get("sanity", ())):
        flags = found.tables["sanity"]["flag"]
        text += f"; {counted(int(flags.sum()), 'row')} of {len(flags)} not better than random"
    return judged(not missing, text, found.link("sanity", "finals"))


@of_finals
def sanity(found: Evidence) -> Verdict:
    """Rule 5: masks shuffled within layers, and weights initialised again."""
    shuffled, anew = 0, 0
    for entry in found.runs:
        run = found.run(entry)
        shuffled += run.shape.startswith("shuffled:")
        of = found.study.records.get(run.shape.partition(":")[2])
        other = (
            of is not None and of.run.seed != run.seed
        )  # the same seed would give the dense model's own initialisation
        anew += run.shape.startswith("run:") and not run.start and other
    text = f"{counted(shuffled, 'run')} with the mask shuffled in each layer, {anew} with weights initialised again"
    return judged(bool(shuffled and anew), text, found.link("sanity", "finals"))


@of_finals
def recovery(found: Evidence) -> Verdict:
    """Rule 6: the run specifies the recovery, not the method."""
    ways = [found.run(e).recovery or "none" for e in found.finals]
    own: dict[str, set[str]] = {}
    for entry, way in zip(found.finals, ways, strict=True):
        own.setdefault(f"{entry['method']} on {entry['model']}", set()).add(way)
    same, without = len(set(map(frozenset, own.values()))) == 1, ways.count("none")
    if same and len(set(ways)) > 1:
        return Verdict(
            MET, f"every method with each of {listed(sorted(set(ways)), 4)}", found.link("comparison", "finals")
        )
    if without:
        text = f"{without} of {counted(len(ways), 'final')} specify no recovery, so that the method determines it"
        return Verdict(UNMET, text, found.link("runs"))
    return Verdict(MET, f"recovery of all {len(ways)} finals: {listed(sorted(set(ways)))}", found.link("finals"))


@of_finals
def same_recipe(found: Evidence) -> Verdict:
    """Rule 7: one schedule and one recipe for all methods of a cell."""
    tuned = [set(cell.space) for cell in found.study.declared.cells.values()]
    free, different = set[str](), set[str]()
    if tuned:
        free = {name.removeprefix("recipe.") for name in set.intersection(*tuned)}
    for own in found.compared().values():
        recipes = [found.run(e).recipe for e in own]
        for field in {key for recipe in recipes for key in recipe} - free:
            if len({json.dumps(recipe.get(field)) for recipe in recipes}) > 1:
                different.add(field)
    if different:
        return Verdict(UNMET, f"recipes differ in {listed(sorted(different))}", found.link("configurations"))
    recipe = found.run(found.finals[0]).recipe
    if not recipe:
        return Verdict(UNMET, "records have no recipe", "facts")
    told = ", ".join(f"{key} {recipe[key]}" for key in ("optimizer", "lr", "schedule") if key in recipe)
    return Verdict(MET, f"one recipe in {counted(len(found.finals), 'final')}: {told}", "facts")


@of_finals
def equal_cost(found: Evidence) -> Verdict:
    """Rule 8: all methods of a cell saw as many images, all phases counted."""
    link, ratios = found.link("ledger", "training", "runs"), {}
    ledger = found.tables.get("ledger", pd.DataFrame(columns=["over"]))
    overruns = int(ledger.get("over", pd.Series(dtype=int)).sum())
    for (model, group), own in found.compared().items():
        seen = [found.samples(e) for e in own]
        ratios[f"{model} {group}".strip()] = max(seen) / min(seen)
    over = sorted(name for name, ratio in ratios.items() if ratio > SAME)
    unknown = sum(not found.record(e).cost.start_known for e in found.finals)
    if unknown:
        text = f"the training of the external weights that {counted(unknown, 'final')} start from is unknown"
        return Verdict(UNMET, text, link)
    if over:
        return Verdict(UNMET, f"images seen differ by up to {max(ratios.values()):.2f}x: {listed(over)}", link)
    if overruns:
        return Verdict(UNMET, f"{counted(overruns, 'run')} cost more than dense training", link)
    most = max(map(found.samples, found.finals))
    return Verdict(MET, f"all methods saw as many images in {counted(len(ratios), 'cell')}, {most:.0f} at most", link)


def equal_tuning(found: Evidence) -> Verdict:
    """Rule 9: the same number of trials in every cell of the table with something to tune, baselines included."""
    said, trials = found.study.declared, found.study.entries
    if found.study.grid or not said.trials:
        return Verdict(NONE, "nothing is tuned: all configurations are declared", found.link("configurations"))
    counts = trials[trials["kind"] == "trial"].groupby("cell").size().to_dict()
    tuned = {name: counts.get(name, 0) for name, cell in said.cells.items() if cell.space}
    tuned |= {name: counts.get(name, 0) for name, cell in said.baselines.items() if cell.space or name not in counts}
    if not tuned:
        return Verdict(NONE, "no cell has parameters to tune", found.link("configurations"))
    least, most = min(tuned.values()), max(tuned.values())
    told = f"{least} to {most} trials"
    if least == most:
        told = counted(least, "trial")
    text = f"{told} in each of {counted(len(tuned), 'cell')}, sampler {said.sampler}; {_knobs(found)}"
    untuned = sorted({name.partition("/")[0] for name, count in tuned.items() if not count})
    if untuned:
        text += f"; not tuned: {listed(untuned, 5)}"
    return judged(least == most > 0, text, found.link("history"))


def _knobs(found: Evidence) -> str:
    """How many fields each method and baseline tunes, which equal trials do not make equal."""
    said, knobs = found.study.declared, dict[str, int]()
    for cell in (*said.cells.values(), *said.baselines.values()):
        knobs[cell.method] = max(knobs.get(cell.method, 0), len(cell.space))
    several = sorted(knobs.items(), key=lambda one: (-one[1], one[0]))
    return "tuned fields: " + listed([f"{name} {count}" for name, count in several], 20)


def test_once(found: Evidence) -> Verdict:
    """Rule 10: no trial opened the test split, and no run opened it more than once, later evaluations counted."""
    records, entries = found.study.records, found.study.entries
    if not records:
        return Verdict(NONE, "no run has a record yet", "facts")
    openings = found.study.openings()
    counts = Counter(opening.run for opening in openings)
    tuning = {run for run in entries.loc[entries["kind"] == "trial", "run"] if run in records}
    early = sum(counts[run] > 0 for run in tuning)
    often = sum(counts[run] > 1 for run in records)
    once = sum(counts[run] == 1 for run in records)
    text = f"opened once by {once} runs, more than once by {often}, by {early} of {counted(len(tuning), 'trial')}"
    others = len(openings) - sum(counts[run] for run in records)
    leaks = sum(leakage.excess(record.metrics) > leakage.LIMIT for record in records.values())
    text += also(leaks, "dense models are far better on validation than on test, so that validation selects nothing")
    text += also(others, "openings of this data set in this home are of other runs and files")
    return judged(not early and not often and not leaks, text, found.link("runs"))
