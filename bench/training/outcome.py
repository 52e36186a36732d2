"""Judges a finished model: its accuracy, its size, the damage done to it, and whether it meets its target."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench import layers, measure, models, tasks
from bench.errors import Ineffective
from bench.layers import reach, unreached
from bench.method import FromTrained, attained
from bench.records.run_record import Collapsed, LayerRow, Metrics, UnreachedRow
from bench.run import Run
from bench.training.start import InitialShape
from bench.training.state import Training

MAJORITY = 0.5  # share of the weights below which a sparsity is that of a minority
DENSE = 0.999  # share of weights that are not zero in a model that was not pruned
AS_SMALL = 0.005  # by which the weights left of an epoch may exceed those of the finished model


@dataclass(frozen=True)
class Reference:
    """What a finished model is compared with.

    Attributes:
        architecture: what was built: the run's model, or a smaller one that its method trains in its place.
        whole: the size and cost of the dense model that the run names.
        before: a copy of the trained dense model that the run started from; None if it started from none.
        aim: metrics that a method which trains a smaller model aims at.
    """

    architecture: str
    whole: measure.Reference
    before: nn.Module | None
    aim: Mapping[str, float]


@dataclass(frozen=True)
class Findings:
    """What was found of a finished model; ``label`` must stand beside its numbers, besides its method's own label."""

    architecture: str
    metrics: Metrics
    layers: tuple[LayerRow, ...]
    collapsed: tuple[Collapsed, ...]
    unreached: tuple[UnreachedRow, ...] = ()
    label: str = ""


def reference(run: Run, info: tasks.Info, model: nn.Module, size: int, initial: InitialShape, built: str) -> Reference:
    """The reference of a run, whose ``model`` (of the architecture ``built``) was not trained yet."""
    whole = model
    if built != run.model or initial.kept:
        whole = models.empty(run.model, classes=info.classes, channels=info.channels, image_size=size)
    cost = measure.reference(whole, (1, info.channels, size, size))
    return Reference(built, cost, dense(run, model, initial), {} if built == run.model else aim(run, whole))


def judge(
    run: Run, training: Training, finished: nn.Module, task: tasks.Task, size: int, reference: Reference
) -> Findings:
    """Measure a finished model.

    Raises:
        Ineffective: it misses the target that its method was asked for.
    """
    setup = training.setup
    metrics, layers = measured(run, finished, task, size, setup.device, reference.whole, reference.before)
    require_target(run, metrics)
    rows = setup.folder.rows() if setup.folder is not None else []
    metrics |= pruned(training, finished) | {"val_best/top1": best(rows, metrics)} | dict(reference.aim)
    collapsed = measure.collapsed(finished, layers, setup.validation(), run.recipe)
    beyond = tuple(UnreachedRow(one.name, one.kind, one.weights) for one in unreached(finished))
    metrics |= {"layers/collapsed": len(collapsed), "weights/unreached": sum(one.weights for one in beyond)}
    return Findings(
        reference.architecture,
        Metrics.from_numbers(metrics),
        tuple(layers),
        tuple(collapsed),
        beyond,
        ", ".join(filter(None, (from_trained(run), of_a_minority(run, finished, metrics)))),
    )


def from_trained(run: Run) -> str:
    """The label of a run that starts from trained weights, where its method is then not the one of its paper; or ""."""
    return run.method.from_trained() if run.start and isinstance(run.method, FromTrained) else ""


def of_a_minority(run: Run, model: nn.Module, metrics: Mapping[str, float]) -> str:
    """The label of a run with zeros among less than half of the weights of its model, those that no mask reaches included."""
    share = reach(run.method.prunable(model).values(), model)
    if not metrics["sparsity/prunable"] or share >= MAJORITY:
        return ""
    return f"sparsity of {100 * share:.2g} % of the weights"


def dense(run: Run, model: nn.Module, initial: InitialShape) -> nn.Module | None:
    """A copy of the trained dense model that the run starts from. None if it starts from an initialisation, from timm (whose
    classifier is replaced), or from a pruned model."""
    if run.start in ("", "timm") or initial.kept or measure.progress_point(model, ())["weights_left"] < DENSE:
        return None
    return copy.deepcopy(model)


def measured(
    run: Run,
    model: nn.Module,
    task: tasks.Task,
    size: int,
    device: torch.device,
    dense: measure.Reference,
    before: nn.Module | None = None,
) -> tuple[dict[str, float], list[LayerRow]]:
    """Metrics of a finished model by key, and a row for each of its layers.

    It is evaluated on validation and, if the run opens it, on test; its sizes are compared with those of ``dense``, its
    predictions with those of ``before``, the trained dense model that it came from.
    """
    recipe, metrics = run.recipe, dict[str, float]()
    if before is not None:
        before = before.to(device).to(memory_format=recipe.memory_format)
    for split in ("validation", "test") if run.test else ("validation",):
        batches = task.evaluation(split, batch=512, image_size=size, channels_last=recipe.channels_last)
        prefix = "val" if split == "validation" else "test"
        metrics |= {f"{prefix}/{k}": v for k, v in measure.accuracy(model, batches, recipe, before).items()}
    shape = (recipe.batch, task.info.channels, size, size)
    facts, layers = measure.summary(
        model, prunable=run.method.prunable(model), example_shape=shape, recipe=recipe, device=device, dense=dense
    )
    return {**metrics, **facts}, layers


def pruned(training: Training, finished: nn.Module) -> dict[str, float]:
    """Validation metrics of the model as its method finished it: before a recovery, and with statistics of batch norms anew."""
    if training.recovering:
        return training.at.pruned
    setup = training.setup
    found = measure.reestimated(finished, setup.batches, setup.validation(), setup.recipe)
    return {f"val/{key}": value for key, value in found.items()}


def best(rows: Iterable[Mapping[str, Any]], metrics: Mapping[str, float]) -> float:
    """The best validation top-1 (per cent) of the epochs at whose end the model was as small as the finished one. Earlier
    epochs do not count: their model was not pruned yet."""
    small = [row["val/top1"] for row in rows if row["weights_left"] <= metrics["weights_left"] + AS_SMALL]
    return float(max([metrics["val/top1"], *small]))


def aim(run: Run, whole: nn.Module) -> dict[str, float]:
    """What a method that trains a smaller model in the place of the ``whole`` one aims at, as a metric: the share of the
    convolution and linear weights that its target leaves."""
    share = getattr(run.method, run.method.target) if run.method.target else None
    if share is None:
        return {}
    prunable, weights = (
        sum(weight.numel() for weight in found.values())
        for found in (run.method.prunable(whole), layers.weights(whole))
    )
    return {"wanted/weights_left": 1 - round(share * prunable) / weights}


def require_target(run: Run, metrics: Mapping[str, float]) -> None:
    """Raise `Ineffective` if a result misses the target by more than the method's tolerance."""
    method = run.method
    wanted, got = method.wanted, attained(method, metrics)
    if wanted is not None and got is not None and abs(got - wanted) > method.tolerance:
        raise Ineffective(
            f"a target must be attained (within {method.tolerance:.1%}), but {method.name} was asked to remove "
            f"{wanted:.4f} and has removed {got:.4f}; this is no result of that method"
        )
