"""What is known of the training of some weights before a run starts from them: which images they saw, and in how many steps.

Weights of our own runs are known from the records; a file of our own says so in its metadata (key `KEY`). Of all other weights
nothing is known: their training may have seen images that validation or test measure with.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from bench.errors import Corrupt
from bench.records.run_record import UNSAFE, Images, RunRecord, StartingWeights

KEY = "trained_on"
TRAIN = "train"


def to_text(weights: StartingWeights) -> str:
    """What a file of weights says of itself, as the text under `KEY` in its metadata."""
    return json.dumps(weights.to_json(), sort_keys=True)


def from_text(text: str, root: str) -> StartingWeights:
    """What the text in a file's metadata says; ``root`` names the file, which is one dense model whatever it was made of.

    Raises:
        Corrupt: it is no such text.
    """
    try:
        return replace(StartingWeights.from_json(json.loads(text)), root=root)
    except ValueError as error:
        raise Corrupt(f"{KEY} in a file's metadata must be JSON, but got {text!r:.80} ({error})") from None


def unknown(root: str) -> StartingWeights:
    """Weights that say nothing: "timm", or a file."""
    return StartingWeights(root, (), complete=False, steps=None)


def after(start: StartingWeights | None, task: str, digest: str, steps: int) -> StartingWeights:
    """What is known of the weights that a run ends with, which trained ``steps`` steps on a data set's training images."""
    own = Images(task, digest, TRAIN)
    if start is None:
        return StartingWeights("", (own,), complete=True, steps=steps)
    known = start.images if own in start.images else (*start.images, own)
    total = None if start.steps is None else start.steps + steps
    return replace(start, images=known, steps=total)


def of_record(record: RunRecord, find: Callable[[str], RunRecord | None]) -> StartingWeights | None:
    """What is known of the weights that a run started from; None: an initialisation. ``find`` gives the record of a run.

    Records of the first versions say only what they start from: then the records of those runs are looked up.
    """
    if record.starting_weights is not None or not record.run.start:
        return record.starting_weights
    kind, _, run_id = record.run.start.partition(":")
    if kind != "run":
        return unknown(str(record.identity.get("start") or record.run.start))
    parent = find(run_id)
    if parent is None:  # it is one of ours, whatever it was
        return StartingWeights("", (), complete=True, steps=record.cost.start_steps)
    digest = str(parent.provenance.data.get("digest", ""))
    return after(of_record(parent, find), parent.run.task, digest, parent.cost.steps + parent.cost.shape_steps)


def danger(start: StartingWeights | None, task: str, digest: str = "") -> str:
    """Why numbers of a run that starts from these weights mean little, in words; "" where nothing speaks against them.

    ``task`` and ``digest`` are those of the run's data set; without a digest, names of tasks are compared.
    """
    if start is None:
        return ""
    if not start.complete:
        return "they do not declare the images of their training"
    held = [i for i in start.images if i.split != TRAIN and (i.digest == digest or (not digest and i.task == task))]
    if held:
        return f"they were trained on the {held[0].split} images of {task}"
    return ""


def with_start(record: RunRecord, find: Callable[[str], RunRecord | None]) -> RunRecord:
    """A record as it would be written today: one of the first versions gets what is known of its starting weights, with the
    label and the cost that follow from it."""
    start = of_record(record, find)
    if start is None or record.starting_weights is not None:
        return record
    label, cost = record.label, replace(record.cost, start_known=start.steps is not None)
    if danger(start, record.run.task, str(record.provenance.data.get("digest", ""))):
        label = ", ".join(filter(None, (label, UNSAFE)))
    return replace(record, starting_weights=start, label=label, cost=cost)
