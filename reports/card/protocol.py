"""The card's rules 1 to 10: what is compared with what, and at whose cost. Each check reads records and nothing else."""

from __future__ import annotations

import json
from typing import Any

from reports.card.evidence import MET, NONE, UNMET, Evidence, Verdict, counted, judged, listed, of_finals

SCRATCH = ("scratch_epochs", "scratch_macs")
SAME = 1.01  # costs up to one per cent apart count as equal


@of_finals
def same_start(found: Evidence) -> Verdict:
    """Rule 1: of one model and seed, all that start from trained weights start from the same ones."""
    link, starts = found.link("runs"), dict[tuple[Any, ...], set[str]]()
    able = [e for e in found.finals if found.record(e).architecture == e["model"]]
    for entry in able:
        record = found.record(entry)
        start = record.identity.get("start") or record.run.start
        starts.setdefault((entry["model"], *found.repetition(entry)), set()).add(start)
    without = sum("" in own for own in starts.values())
    if without:
        many = f"in {without} of {counted(len(starts), 'pair')} of model and seed"
        return Verdict(UNMET, f"{many} some method begins from an initialisation, not from trained weights", link)
    apart = [f"{model} seed {seed}" for (model, _, seed), own in starts.items() if len(own) > 1]
    if apart:
        return Verdict(UNMET, f"methods start from different weights: {listed(apart)}", link)
    lacking = sorted({e["model"] for e in found.finals} - {e["model"] for e in found.runs if found.dense(e)})
    if lacking:
        return Verdict(UNMET, f"the dense accuracy is missing: {listed(lacking)}", link)
    names = sorted({start for own in starts.values() for start in own})
    return judged(
        bool(names), f"one start in each of {counted(len(starts), 'pair')} of model and seed: {listed(names, 2)}", link
    )


@of_finals
def dense_control(found: Evidence) -> Verdict:
    """Rule 2: a dense model was trained for as many images as the methods were."""
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
    """Rule 3: the pruned shape trained from an initialisation, for as many epochs and for as much arithmetic."""
    counts = {name: sum(e["method"] == name for e in found.runs) for name in SCRATCH}
    told = ", ".join(f"{counted(n, 'run')} of {name}" for name, n in counts.items())
    return judged(all(counts.values()), told, found.link("sanity", "finals"))


@of_finals
def simple_baselines(found: Evidence) -> Verdict:
    """Rule 4: chance, chance with the method's own ratios, and magnitude layer by layer and over all."""
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
    lacking = [name for name, there in seen.items() if not there]
    text = (
        f"missing: {', '.join(lacking)}"
        if lacking
        else f"all four, {counted(len(shuffled), 'run')} with methods' own ratios"
    )
    flags = found.tables["sanity"]["flag"] if "sanity" in found.tables else ()
    text += f"; {counted(int(sum(flags)), 'row')} of {len(flags)} not better than random" if len(flags) else ""
    return judged(not lacking, text, found.link("sanity", "finals"))


@of_finals
def sanity(found: Evidence) -> Verdict:
    """Rule 5: masks shuffled within layers, and weights drawn anew."""
    shuffled, anew = 0, 0
    for entry in found.runs:
        run = found.run(entry)
        shuffled += run.shape.startswith("shuffled:")
        of = found.study.records.get(run.shape.partition(":")[2])
        other = of is not None and of.run.seed != run.seed  # the same would be the dense model's own
        anew += run.shape.startswith("run:") and not run.start and other
    text = f"{counted(shuffled, 'run')} with the mask shuffled in each layer, {anew} with weights drawn anew"
    return judged(bool(shuffled and anew), text, found.link("sanity", "finals"))


@of_finals
def recovery(found: Evidence) -> Verdict:
    """Rule 6: how a model recovers is said by the run, not decided by the method."""
    ways = [found.run(e).recovery for e in found.finals]
    own: dict[str, set[str]] = {}
    for entry, way in zip(found.finals, ways, strict=True):
        own.setdefault(f"{entry['method']} on {entry['model']}", set()).add(way)
    same, without = len(set(map(frozenset, own.values()))) == 1, ways.count("none")
    if same and len(set(ways)) > 1:
        return Verdict(
            MET, f"every method with each of {listed(sorted(set(ways)), 4)}", found.link("comparison", "finals")
        )
    if without:
        text = (
            f"{without} of {counted(len(ways), 'final')} have no recovery of their own: the method decides how they end"
        )
        return Verdict(UNMET, text, found.link("runs"))
    return Verdict(MET, f"recovery of all {len(ways)} finals: {listed(sorted(set(ways)))}", found.link("finals"))


@of_finals
def same_recipe(found: Evidence) -> Verdict:
    """Rule 7: one schedule and one recipe for all methods that stand beside each other."""
    tuned = [set(cell.space) for cell in found.study.declared.cells.values()]
    free = set.intersection(*tuned) if tuned else set()
    different = set[str]()
    for own in found.compared().values():
        recipes = [found.run(e).recipe for e in own]
        for field in {key for recipe in recipes for key in recipe} - free:
            if len({json.dumps(recipe.get(field)) for recipe in recipes}) > 1:
                different.add(field)
    if different:
        return Verdict(UNMET, f"recipes differ in {listed(sorted(different))}", found.link("configurations"))
    recipe = found.run(found.finals[0]).recipe
    told = ", ".join(f"{key} {recipe[key]}" for key in ("optimizer", "lr", "schedule") if key in recipe)
    many = counted(len(found.finals), "final")
    return judged(bool(recipe), f"one recipe in {many}: {told}" if recipe else "records have no recipe")


@of_finals
def equal_cost(found: Evidence) -> Verdict:
    """Rule 8: all that stand beside each other saw as many images, everything counted."""
    link = found.link("ledger", "training", "runs")
    ratios, ledger = {}, found.tables.get("ledger")
    charged = int(ledger["over"].sum()) if ledger is not None and "over" in ledger else 0
    for (model, group), own in found.compared().items():
        seen = [found.samples(e) for e in own]
        ratios[f"{model} {group}".strip()] = max(seen) / min(seen)
    over = sorted(name for name, ratio in ratios.items() if ratio > SAME)
    if over:
        return Verdict(UNMET, f"images seen differ by up to {max(ratios.values()):.2f}x: {listed(over)}", link)
    if charged:
        return Verdict(UNMET, f"{counted(charged, 'run')} charged more than dense training", link)
    most = max(map(found.samples, found.finals))
    return Verdict(MET, f"all methods saw as many images in {counted(len(ratios), 'cell')}, {most:.0f} at most", link)


def equal_tuning(found: Evidence) -> Verdict:
    """Rule 9: as many trials in every cell that has something to tune."""
    said, trials = found.study.declared, found.study.entries
    if found.study.grid or not said.trials:
        return Verdict(NONE, "nothing is tuned: everything runs as it was declared", found.link("configurations"))
    spaces = {name: cell.space for name, cell in said.cells.items()}
    counts = trials[trials["kind"] == "trial"].groupby("cell").size().to_dict()
    tuned = {name: counts.get(name, 0) for name, space in spaces.items() if space}
    if not tuned:
        return Verdict(NONE, "no cell has anything to tune", found.link("configurations"))
    numbers = sorted(set(tuned.values()))
    trials_ = counted(numbers[0], "trial") if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]} trials"
    text = f"{trials_} in each of {counted(len(tuned), 'cell')}"
    return judged(len(numbers) == 1 and numbers[0] > 0, f"{text}, sampler {said.sampler}", found.link("history"))


def test_once(found: Evidence) -> Verdict:
    """Rule 10: trials never opened the test split, and nothing opened it twice."""
    records, entries = found.study.records, found.study.entries
    if not records:
        return Verdict(NONE, "no run has a record yet", "facts")
    tuning = {run for run in entries.loc[entries["kind"] == "trial", "run"] if run in records}
    early = sum(records[run].test_openings > 0 for run in tuning)
    often = sum(record.test_openings > 1 for record in records.values())
    once = sum(record.test_openings == 1 for record in records.values())
    text = f"opened once by {once} runs, more than once by {often}, by {early} of {counted(len(tuning), 'trial')}"
    return judged(not early and not often, text, found.link("runs"))
