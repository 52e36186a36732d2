"""The card's rules 11 to 22: reported metrics, operating points, numbers of seeds, and statistics."""

from __future__ import annotations

import math

from reports.card.evidence import MET, NONE, UNMET, Evidence, Row, Verdict, also, judged, lacking, listed, of_finals
from reports.load.attained import missed
from reports.load.records import DENSE, dicts
from reports.statistics import ranks
from reports.tables.columns import counted

PAIRS, LARGE = 3, 10e6  # minimum number of (task, model) pairs, and of parameters of a large model
SMALL = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")
POINTS = 5
SCREEN, HEADLINE, CIFAR = 3, 5, 10  # seeds


@of_finals
def last_epoch(found: Evidence) -> Verdict:
    """Rule 11: the tables have the accuracy of the last epoch, and the best on validation."""
    return _both(found, "last epoch and best on validation", ("val_best_top1",), ("val_best", "val_top1"))


def _both(found: Evidence, what: str, fields: tuple[str, ...], columns: tuple[str, str]) -> Verdict:
    """Whether all finals have the metrics ``fields``, and a table has both columns."""
    known = sum(found.metrics(e).measured(*fields) for e in found.finals)
    where = found.printed(*columns)
    told = f"{what} are recorded in {known} of {counted(len(found.finals), 'final')}"
    if not where:
        return Verdict(UNMET, f"{told}, but no table has both", "facts")
    return judged(known == len(found.finals), f"{told}, both in table {where}", where)


@of_finals
def breadth(found: Evidence) -> Verdict:
    """Rule 12: several tasks and architectures, among them a large one, and not only the usual small tasks."""
    task, models = found.study.declared.task, sorted({e["model"] for e in found.finals})
    largest = max(
        [
            0.0,
            *(found.metrics(e).params_reference for e in found.finals if found.metrics(e).measured("params_reference")),
        ]
    )
    text = f"{counted(len(models), 'pair')}: {task} with {listed(models)}; the largest has {largest / 1e6:.3g} M parameters"
    return judged(len(models) >= PAIRS and largest >= LARGE and task not in SMALL, text, found.link("finals"))


@of_finals
def operating_points(found: Evidence) -> Verdict:
    """Rule 13: every method has several sizes on every model."""
    sizes: dict[tuple[str, str], set[str]] = {}
    for own in found.configurations():
        size = math.fsum(map(_size, own)) / len(own)
        sizes.setdefault((own[0]["method"], own[0]["model"]), set()).add(f"{size:.2g}")
    least = min(sizes, key=lambda key: (len(sizes[key]), key))
    text = f"{counted(len(sizes[least]), 'size')} at least (of {least[0]} on {least[1]})"
    left = [e["weights_left"] for e in found.finals if e["weights_left"] > 0]
    if left:
        text += f", {1 / max(left):.3g} to {1 / min(left):.3g} times fewer weights"
    return judged(len(sizes[least]) >= POINTS, text, found.link("accuracy-weights-left", "finals"))


def _size(entry: Row) -> float:
    """The share of the model that an entry's target leaves; without a target, that of the MACs."""
    if math.isnan(entry["target"]):
        return float(entry["macs_left"])
    return float(1 - entry["target"])


@of_finals
def both_sizes(found: Evidence) -> Verdict:
    """Rule 14: weights left and MACs left are both reported and defined."""
    fields = ("weights_left", "macs_fraction", "speedup_theoretical")
    whole = sum(found.metrics(e).measured(*fields) for e in found.finals)
    where = found.printed("weights_left", "macs_left")
    text = (
        f"{whole} of {len(found.finals)} finals have weights left, MACs left and the theoretical speed-up; the caption defines "
        "them"
    )
    return judged(whole == len(found.finals) and bool(where), text, where or "facts")


@of_finals
def attained(found: Evidence) -> Verdict:
    """Rule 15: no final misses the requested size by more than the tolerance; figures show the attained size."""
    misses = [miss for miss in (missed(found.record(e)) for e in found.finals) if not math.isnan(miss)]
    if not misses:
        return Verdict(NONE, "no final has a requested size that can be checked", found.link("finals"))
    over, rest = sum(miss > 0 for miss in misses), len(found.finals) - len(misses)
    text = f"{over} of {counted(len(misses), 'final')} miss the requested size by more than the tolerance"
    if over:
        text += f", at most by {100 * max(misses):.2f} %"
    text += also(rest, "have no requested size")
    return judged(not over, text, found.link("comparison", "runs"))


@of_finals
def raw_accuracy(found: Evidence) -> Verdict:
    """Rule 16: top-1 and top-5 themselves, not only differences."""
    return _both(found, "test top-1 and top-5", ("test_top1", "test_top5"), ("top1", "top5"))


@of_finals
def seeds(found: Evidence) -> Verdict:
    """Rule 17: enough seeds for the kind of study; means are reported with n and an interval."""
    least = min(len({e[DENSE] for e in own}) for own in found.configurations())
    headline, needed = HEADLINE, SCREEN
    if found.study.declared.task.startswith("cifar"):
        headline = CIFAR
    if found.study.declared.topic == "headline":
        needed = headline
    text = (
        f"n = {least} at least, {_enough(least, headline)}; tables show n and the t interval, their CSV the deviation"
    )
    return judged(least >= needed, text, found.link("finals"))


def _enough(least: int, headline: int) -> str:
    if least >= headline:
        return "enough to screen and for a headline"
    if least >= SCREEN:
        return f"enough to screen, a headline needs {headline}"
    return f"too few to screen, a headline needs {headline}"


@of_finals
def two_levels(found: Evidence) -> Verdict:
    """Rule 18: several dense models, and several pruning seeds for each of them."""
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
    """Rule 19: all methods of a cell ran with the same seeds."""
    entries = found.study.entries
    finals = entries[(entries["kind"] == "final")]
    sets = {
        place: {frozenset(map(found.repetition, dicts(own))) for _, own in rows.groupby(["cell", "number"])}
        for place, rows in finals.groupby(["model", "group"])
    }
    apart = sorted(f"{model} {group}".strip() for (model, group), own in sets.items() if len(own) > 1)
    wrong = sum(found.run(e).seed not in (None, e["seed"]) for e in found.finals)
    text = f"the same seeds in each of {counted(len(sets), 'cell')}"
    if apart:
        text = f"seeds differ: {listed(apart)}"
    return judged(not apart and not wrong, text + also(wrong, "records name another seed"), found.link("runs"))


@of_finals
def statistics(found: Evidence) -> Verdict:
    """Rule 20: intervals, corrected paired tests, profiles; ranks where there are enough pairs of data and architecture."""
    pairs, wanted = len({model for model, _ in found.compared()}), ["comparison", "overall", "profiles", "improvement"]
    if pairs >= ranks.PAIRS:
        wanted.append("ranks")
    missing = [name for name in wanted if not found.shown(name)]
    text = f"{counted(pairs, 'pair')} of data set and architecture; "
    text += lacking(missing, "not in this report", "all are in this report")
    return judged(not missing, text, found.link("overall", "comparison"))


@of_finals
def detectable(found: Evidence) -> Verdict:
    """Rule 21: the smallest detectable difference is printed."""
    where = found.printed("detectable")
    if not where:
        return Verdict(UNMET, "no table has the smallest detectable difference", found.link("finals"))
    values = found.tables[where]["detectable"].dropna()
    return Verdict(MET, f"{values.min():.2f} to {values.max():.2f} points of top-1", where)


def fresh_seeds(found: Evidence) -> Verdict:
    """Rule 22: selected configurations run again with seeds that tuning never used."""
    if found.study.grid or not found.study.declared.trials:
        return Verdict(NONE, "nothing is selected, so there is no selection bias", "facts")
    entries = found.study.entries
    used = {kind: set(entries.loc[entries["kind"] == kind, "seed"]) for kind in ("trial", "final")}
    if not used["final"]:
        return Verdict(NONE, "no final has begun yet", "facts")
    both = used["trial"] & used["final"]
    names = {kind: listed(sorted(map(str, own))) for kind, own in used.items()}
    return judged(not both, f"tuning: seed {names['trial'] or 'none'}; finals: {names['final']}", found.link("runs"))
