"""One size for all: a method's target as a share of the whole model, in terms of the method's own denominator.

A method's target is a share of what it may prune: of the convolution and linear weights without the classifier's, say. With
`share_of=params` it is a share of all parameters of the model that the run names, for every method alike.
"""

from __future__ import annotations

from dataclasses import fields, replace

from bench import models, tasks
from bench.errors import Ineffective
from bench.run import Run


def sized(run: Run, info: tasks.Info, size: int) -> Run:
    """Returns the run with its method's own target; ``size`` is that of its images in pixels.

    Raises:
        Ineffective: the method cannot remove that much of the model, or cannot count in this unit.
    """
    method = run.method
    if run.share_of == "method" or method.target is None or not getattr(method, method.target):
        return run
    if "budget" in {field.name for field in fields(method)}:
        return replace(run, method=replace(method, budget=run.share_of))  # type: ignore[call-arg]
    if run.share_of != "params":
        raise Ineffective(
            f"only methods that remove channels can be given a share of the MACs, but {method.name} masks weights; "
            "set share_of=params, or leave the method out"
        )
    whole = models.empty(run.model, classes=info.classes, channels=info.channels, image_size=size)
    total = sum(parameter.numel() for parameter in whole.parameters())
    prunable = sum(weight.numel() for weight in method.prunable(whole).values())
    share = getattr(method, method.target)
    if round(share * total) >= prunable:
        raise Ineffective(
            f"{method.name} must remove {share:.1%} of the {total:,} parameters of {run.model}, but those that it may prune "
            f"are {prunable / total:.1%}; lower the target, let it prune the classifier, or choose another model"
        )
    return replace(run, method=replace(method, **{method.target: share * total / prunable}))
