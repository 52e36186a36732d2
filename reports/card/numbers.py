"""The card's rules 11 to 22: which numbers are reported, how many there are of them, and what is said of chance."""

from __future__ import annotations

import math

from reports.card.evidence import MET, NONE, UNMET, Evidence, Verdict, counted, judged, listed, of_finals
from reports.load.attained import missed
from reports.load.records import dicts

PAIRS, LARGE = 3, 10e6  # (task, model) pairs, and parameters of a model that is not small
SMALL = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")
POINTS = 5
SCREEN, HEADLINE, CIFAR = 3, 5, 10  # seeds
CELLS = 8  # from which on ranks over cells are compared


@of_finals
def last_epoch(found: Evidence) -> Verdict:
    """Rule 11: the last epoch's accuracy stands in the tables, with the best on validation beside it."""
    known = sum(found.metrics(e).measured("val_best_top1") for e in found.finals)
    where = found.printed("val_best", "val_top1")
    text = f"last epoch and best on validation are recorded in {known} of {counted(len(found.finals), 'final')}"
    text += f", both in table {where}" if where else ", but no table has both"
    return judged(bool(where) and known == len(found.finals), text, where or "facts")


@of_finals
def breadth(found: Evidence) -> Verdict:
    """Rule 12: several tasks and architectures, one of them large, not only the usual small ones."""
    task, models = found.study.declared.task, sorted({e["model"] for e in found.finals})
    sizes = [found.metrics(e).params_reference for e in found.finals]
    largest = max(0.0 if math.isnan(size) else size for size in sizes)
    text = f"{counted(len(models), 'pair')}: {task} with {listed(models)}; the largest has {largest / 1e6:.3g} M parameters"
    return judged(len(models) >= PAIRS and largest >= LARGE and task not in SMALL, text, found.link("finals"))


@of_finals
def operating_points(found: Evidence) -> Verdict:
    """Rule 13: every method has several sizes on every model."""
    sizes: dict[tuple[str, str], set[str]] = {}
    for own in found.configurations():
        size = sum(e["macs_left"] if math.isnan(e["target"]) else 1 - e["target"] for e in own) / len(own)
        sizes.setdefault((own[0]["method"], own[0]["model"]), set()).add(f"{size:.2g}")
    least = min(sizes, key=lambda key: (len(sizes[key]), key))
    left = [e["weights_left"] for e in found.finals if e["weights_left"] > 0]
    span = f", {1 / max(left):.3g} to {1 / min(left):.3g} times fewer weights" if left else ""
    text = f"{counted(len(sizes[least]), 'size')} at least (of {least[0]} on {least[1]}){span}"
    return judged(len(sizes[least]) >= POINTS, text, found.link("accuracy-weights-left", "finals"))


@of_finals
def both_sizes(found: Evidence) -> Verdict:
    """Rule 14: weights and multiplications left are both there, with what they are relative to."""
    fields = ("weights_left", "macs_fraction", "speedup_theoretical")
    whole = sum(found.metrics(e).measured(*fields) for e in found.finals)
    where = found.printed("weights_left", "macs_left")
    text = f"weights left, MACs left and their inverse are in {whole} of {len(found.finals)} finals; defined in the caption"
    return judged(whole == len(found.finals) and bool(where), text, where or "facts")


@of_finals
def attained(found: Evidence) -> Verdict:
    """Rule 15: no final misses what was asked of it by more than the tolerance; figures use what was attained."""
    misses = [miss for e in found.finals if not math.isnan(miss := missed(found.record(e)))]
    if not misses:
        return Verdict(NONE, "no final was asked for a size that can be checked", found.link("finals"))
    over, rest = sum(miss > 0 for miss in misses), len(found.finals) - len(misses)
    text = f"{over} of {counted(len(misses), 'final')} miss their budget by more than is allowed"
    text += f", at most by {100 * max(misses):.2f} %" if over else ""
    return judged(not over, f"{text}; {rest} were asked for none" if rest else text, found.link("comparison", "runs"))


@of_finals
def raw_accuracy(found: Evidence) -> Verdict:
    """Rule 16: top-1 and top-5 themselves, not only differences."""
    known = sum(found.metrics(e).measured("test_top1", "test_top5") for e in found.finals)
    where = found.printed("top1", "top5")
    text = f"test top-1 and top-5 are recorded in {known} of {len(found.finals)} finals"
    text += f", and in table {where}" if where else ", but no table has top-5"
    return judged(bool(where) and known == len(found.finals), text, where or "facts")


@of_finals
def seeds(found: Evidence) -> Verdict:
    """Rule 17: seeds enough for what is claimed; the mean never stands without n and its spread."""
    least = min(len(own) for own in found.configurations())
    cifar = found.study.declared.task.startswith("cifar")
    headline = CIFAR if cifar else HEADLINE
    needed = headline if found.study.declared.topic == "headline" else SCREEN
    enough = "enough to screen" if least >= SCREEN else "too few to screen"
    enough += " and for a headline" if least >= headline else f", a headline needs {headline}"
    text = f"n = {least} at least, {enough}; tables show n and the t interval, their CSV the deviation"
    return judged(least >= needed, text, found.link("finals"))


@of_finals
def two_levels(found: Evidence) -> Verdict:
    """Rule 18: several dense models, and several prunings of each."""
    runs: dict[tuple[str, str], set[int]] = {}
    for entry in found.finals:
        start = found.record(entry).identity.get("start") or ""
        if start:
            runs.setdefault((entry["model"], start), set()).add(entry["seed"])
    models = {model for model, _ in runs}
    dense = min((sum(m == model for m, _ in runs) for model in models), default=0)
    prunings = min(map(len, runs.values()), default=0)
    text = f"{counted(dense, 'dense model')} to an architecture, {counted(prunings, 'pruning seed')} to each"
    return judged(dense > 1 and prunings > 1, text, found.link("finals"))


@of_finals
def paired(found: Evidence) -> Verdict:
    """Rule 19: all that stand beside each other ran with the same seeds."""
    entries = found.study.entries
    finals = entries[(entries["kind"] == "final")]
    sets = {
        place: {frozenset(map(found.repetition, dicts(own))) for _, own in rows.groupby(["cell", "number"])}
        for place, rows in finals.groupby(["model", "group"])
    }
    apart = sorted(f"{model} {group}".strip() for (model, group), own in sets.items() if len(own) > 1)
    wrong = sum(found.run(e).seed not in (None, e["seed"]) for e in found.finals)
    text = f"the same seeds in each of {counted(len(sets), 'cell')}" if not apart else f"seeds differ: {listed(apart)}"
    text += f"; {wrong} records name another seed" if wrong else ""
    return judged(not apart and not wrong, text, found.link("runs"))


@of_finals
def statistics(found: Evidence) -> Verdict:
    """Rule 20: intervals, corrected paired tests, profiles; ranks where there are cells enough."""
    cells = len(found.compared())
    wanted = ["comparison", "overall", "profiles", "improvement", *(["ranks"] if cells >= CELLS else [])]
    lacking = [name for name in wanted if not len(found.tables.get(name, ())) and name not in found.figures]
    text = f"{counted(cells, 'cell')}; " + (f"not in this report: {', '.join(lacking)}" if lacking else "all are there")
    return judged(not lacking, text, found.link("overall", "comparison"))


@of_finals
def detectable(found: Evidence) -> Verdict:
    """Rule 21: the smallest difference that the seeds could have shown is printed."""
    where = found.printed("detectable")
    if not where:
        return Verdict(UNMET, "no table says which difference could be detected", found.link("finals"))
    values = found.tables[where]["detectable"].dropna()
    return Verdict(MET, f"{values.min():.2f} to {values.max():.2f} points of top-1", where)


def fresh_seeds(found: Evidence) -> Verdict:
    """Rule 22: what was chosen runs again with seeds that tuning never used."""
    if found.study.grid or not found.study.declared.trials:
        return Verdict(NONE, "nothing is chosen, so no winner's luck is reported", "facts")
    entries = found.study.entries
    used = {kind: set(entries.loc[entries["kind"] == kind, "seed"]) for kind in ("trial", "final")}
    if not used["final"]:
        return Verdict(NONE, "no final has begun yet", "facts")
    both = used["trial"] & used["final"]
    names = {kind: listed(sorted(map(str, own))) for kind, own in used.items()}
    return judged(not both, f"tuning: seed {names['trial'] or 'none'}; finals: {names['final']}", found.link("runs"))
