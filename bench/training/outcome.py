"""The judgement of a finished model: how good it is, what was lost on the way, and whether it is what was asked for."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from bench import masks, measure, tasks
from bench.errors import Ineffective
from bench.method import attained
from bench.run import Run
from bench.training.start import InitialShape
from bench.training.state import Training

DENSE = 0.999  # share of weights that are not zero in a model that was not pruned
AS_SMALL = 0.005  # by which the weights left of an epoch may exceed those of the finished model


def dense(run: Run, model: nn.Module, initial: InitialShape) -> nn.Module | None:
    """A copy of the trained dense model that the run starts from; None where it starts from none: from an initialisation, from
    timm (with a classifier of its own), or from what was pruned before."""
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
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """All measurements of a finished model: on validation, on test if the run opens it, of its weights and its speed, which
    are compared with the ``dense`` model's; ``before`` is the trained dense model that it came from, if it came from one."""
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
    """How good the model was as the method finished it: before a recovery, and with batch-norm statistics of its own."""
    if training.recovering:
        return training.at.pruned
    setup = training.setup
    found = measure.reestimated(finished, setup.batches, setup.validation(), setup.recipe)
    return {f"val/{key}": value for key, value in found.items()}


def best(rows: Iterable[Mapping[str, Any]], metrics: Mapping[str, float]) -> float:
    """The best validation top-1 of all epochs at whose end the model was as small as it is now; the accuracy of an epoch
    before that is none of a pruned model."""
    small = [row["val/top1"] for row in rows if row["weights_left"] <= metrics["weights_left"] + AS_SMALL]
    return float(max([metrics["val/top1"], *small]))


def aim(run: Run, whole: nn.Module) -> dict[str, float]:
    """What a method that trains a smaller model in the place of the ``whole`` one aims at: the share of its convolution
    and linear weights that the method's target leaves."""
    share = getattr(run.method, run.method.target) if run.method.target else None
    if share is None:
        return {}
    prunable, weights = (
        sum(weight.numel() for weight in found.values())
        for found in (run.method.prunable(whole), masks.prunable(whole, classifier=True))
    )
    return {"wanted/weights_left": 1 - round(share * prunable) / weights}


def require_target(run: Run, metrics: Mapping[str, float]) -> None:
    """Refuse a result that misses what was wanted."""
    method = run.method
    wanted, got = method.wanted, attained(method, metrics)
    if wanted is not None and got is not None and abs(got - wanted) > method.tolerance:
        raise Ineffective(
            f"what was wanted must be attained (within {method.tolerance:.1%}), but {method.name} was asked to remove "
            f"{wanted:.4f} and has removed {got:.4f}; this is no result of that method"
        )
