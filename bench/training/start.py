"""The starting weights of a run, and its initial shape: the channels and the zeros of a model that was pruned before.

    start = ""         an initialisation from the run's seed
            timm       the weights that timm has for the architecture
            FILE       a file of safetensors
            run:ID     the weights of a finished run, and its smaller shape where channels were removed
    shape = run:ID     the shape of a finished run without its weights: the channels that it removed are cut off, its zeros are
                       set and held at zero while the run trains; the weights are those that `start` says
            shuffled:ID  the same, with the zeros of each layer at random positions (from the run's seed)

`shape` makes the controls of a pruned model. With the seed and the `start` of the run that it names, the pruned model is
rewound to its starting weights, as a lottery ticket (Frankle and Carbin 2019, arXiv:1803.03635); with another seed the pruned
architecture is trained from scratch (Liu et al. 2019, arXiv:1810.05270); shuffled, only the layer-wise shares are kept
(Frankle et al. 2021, arXiv:2009.08576). Where channels were removed, the initialisation of the whole model is cut to size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import layers, models, tasks
from bench.channels import plan as plans
from bench.errors import BenchError, MissingData
from bench.records import starting_weights
from bench.records.files import read_json
from bench.records.folder import Folder
from bench.records.run_record import StartingWeights
from bench.run import SHUFFLED, START_RUN, Run, file_digest
from bench.seeds import generator

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class InitialShape:
    """The shape that a run starts with.

    Attributes:
        kept: a plan of the channels that are left; empty where all are.
        held: masks of weights by name, bool, False where a zero is held.
        notes: what was done to the starting weights to make them fit.
    """

    kept: dict[str, Any] = field(default_factory=dict)
    held: dict[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def begin_(run: Run, model: nn.Module, records: Folder, names: Sequence[str] = ()) -> InitialShape:
    """Give a freshly built model the starting weights and the shape of its run, in place; ``names`` are those of the task's
    classes, in order, which the outputs of a run of the same classes are brought into.

    Raises:
        MissingData: there is no such run or file.
        BenchError: the weights or the shape are those of another model.
    """
    kept: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    if run.start.startswith(START_RUN):
        folder = finished(run.start, records)
        kept = _cut_(model, folder)
        models.load_weights(model, folder / WEIGHTS)
        notes = _in_order_(model, run, folder, names)
    elif run.start and run.start != "timm":
        notes = models.load_weights(model, Path(run.start).expanduser())
    if not run.shape:
        return InitialShape(kept, notes=notes)
    if kept:
        raise BenchError(
            f"a shape is given to a whole model, but start={run.start} has lost channels already; leave out `start` or `shape`"
        )
    folder = finished(run.shape, records)
    kept = _cut_(model, folder)
    held = _zeros(model, folder)
    if run.shape.startswith(SHUFFLED):
        held = {name: _shuffled(mask, generator(run.seed, "shape", name)) for name, mask in held.items()}
    with torch.no_grad():
        for name, mask in held.items():
            model.get_parameter(name).mul_(mask)
    return InitialShape(kept, held, notes)


def _in_order_(model: nn.Module, run: Run, folder: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Bring the outputs of a run's weights into the order of the task's classes, where both have the same ones; a run may
    start from the weights of other classes, as its training changes what the outputs mean."""
    have = trained_on(folder, names)
    if sorted(have) != sorted(names):
        return ()
    note = models.match_classes_(model, have, names, what=run.start)
    return (note,) if note else ()


def trained_on(folder: Path, names: Sequence[str]) -> Sequence[str]:
    """The names of the classes that a finished run was trained on, in the order of its outputs; none where they are not known.

    The plans of earlier versions have no names. The classes of their image folders were in another order, which is that of
    the task's ``names`` if these are as many.
    """
    plan: dict[str, Any] = read_json(folder / "plan.json")
    if found := plan.get("names"):
        return tuple(found)
    record = Folder(folder.parent.parent).record(folder.name)
    if record is None or not record.run.task.startswith(tasks.PREFIX) or len(names) != plan.get("classes"):
        return ()
    return tasks.earlier_order(names)


def known(run: Run, records: Folder) -> StartingWeights | None:
    """What is known of the training of a run's starting weights; None where it starts from an initialisation.

    Raises:
        MissingData: there is no such run or file.
    """
    if not run.start:
        return None
    if run.start == "timm":
        return starting_weights.unknown(run.start)
    if run.start.startswith(START_RUN):
        record = records.record(finished(run.start, records).name)
        assert record is not None  # it is finished
        digest = str(record.provenance.data.get("digest", ""))
        before = starting_weights.of_record(record, records.record)
        return starting_weights.after(before, record.run.task, digest, record.cost.steps + record.cost.shape_steps)
    root = f"sha256:{file_digest(run.start)[:16]}"
    said = models.read_metadata(run.start).get(starting_weights.KEY)
    return starting_weights.unknown(root) if said is None else starting_weights.from_text(said, root)


def finished(text: str, records: Folder) -> Path:
    """The folder of a finished run with weights, by ``run:ID`` or ``shuffled:ID``."""
    run_id = text.partition(":")[2]
    record = records.record(run_id) if run_id else None
    if record is None or not record.finished or not (records.run(run_id) / WEIGHTS).exists():
        raise MissingData(
            f"a run can start from a finished run with weights, but {run_id!r} is none; run that one first"
        )
    return records.run(run_id)


def _cut_(model: nn.Module, folder: Path) -> dict[str, Any]:
    kept: dict[str, Any] = read_json(folder / "plan.json").get("kept", {})
    if kept:
        from bench.channels.kernels import shrink_  # here: it comes with the tracer, which takes a second to import

        try:
            shrink_(model, kept)
        except (AttributeError, IndexError, RuntimeError) as error:
            raise BenchError(
                f"a shape must be that of the run's own model, but that of {folder.name} does not fit ({error}); name a run "
                "of the same model"
            ) from None
    return kept


def _zeros(model: nn.Module, folder: Path) -> dict[str, Tensor]:
    """The masks of the finished run's zeros (bool, False at a zero), of each weight that has some."""
    other = plans.rebuild(read_json(folder / "plan.json"))
    models.load_weights(other, folder / WEIGHTS)
    weights, shape = layers.weights(model), layers.weights(other)
    if {n: w.shape for n, w in weights.items()} != {n: w.shape for n, w in shape.items()}:
        raise BenchError(
            f"a shape must be that of the run's own model, but {folder.name} ended with another one; name a run of that model"
        )
    live = {name: weight.detach() != 0 for name, weight in shape.items()}
    return {name: mask for name, mask in live.items() if not bool(mask.all())}


def _shuffled(mask: Tensor, rng: torch.Generator) -> Tensor:
    return mask.flatten()[torch.randperm(mask.numel(), generator=rng)].view(mask.shape)
