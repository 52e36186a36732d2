"""The recipe: optimiser, schedule and precision, the same for every method of a comparison."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from bench.config import Config, hp
from bench.errors import BenchError

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Recipe(Config):
    """How every method trains. Learning rates change at each step; fractions are of the phase that the schedule spans."""

    optimizer: str = hp("sgd", choices=("sgd", "adamw"), help="sgd (Nesterov momentum) or adamw")
    lr: float = hp(0.1, above=0, high=100, help="peak learning rate")
    momentum: float = hp(0.9, low=0, below=1, help="momentum of sgd, beta1 of adamw")
    nesterov: bool = hp(True, help="Nesterov's form of momentum (sgd)")
    weight_decay: float = hp(5e-4, low=0, high=10, help="L2 for sgd, decoupled for adamw")
    decay_all: bool = hp(True, help="decay norms and biases too")
    schedule: str = hp(
        "cosine", choices=("cosine", "onecycle", "multistep", "constant"), help="learning rate over a phase"
    )
    warmup: float = hp(0.0, low=0, high=1, help="fraction of a phase spent rising linearly to the peak")
    milestones: tuple[float, ...] = hp(
        (0.5, 0.75), low=0, high=1, help="fractions at which multistep multiplies by drop"
    )
    drop: float = hp(0.1, above=0, high=1, help="factor of multistep")
    batch: int = hp(128, low=1, help="images per optimiser step")
    micro_batches: int = hp(1, low=1, help="parts a batch is cut into when memory is short (gradients are summed)")
    label_smoothing: float = hp(0.0, low=0, below=1, help="label smoothing of the cross entropy")
    clip: float = hp(0.0, low=0, help="largest norm of the gradient; 0 does not clip")
    augment: bool = hp(True, help="the task's augmentation (crops, and flips where a mirror image keeps its class)")
    precision: str = hp("fp32", choices=("fp32", "bf16"), help="arithmetic of forward and backward; weights stay fp32")
    channels_last: bool = hp(True, help="memory format of images and convolutions")
    compile: bool = hp(False, help="torch.compile the training step's forward")

    def check(self) -> None:
        """A batch cannot be cut into more parts than it has images."""
        if self.micro_batches > self.batch:
            raise BenchError(
                f"`micro_batches <= batch` must hold, but got (micro_batches={self.micro_batches}, batch={self.batch}); "
                "lower `micro_batches`"
            )

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """The optimiser over the model's trainable parameters, in two groups: decayed and not decayed."""
        return self.optimizer_for(self.groups(model))

    def groups(self, model: nn.Module) -> list[dict[str, object]]:
        """Parameter groups; the weight decay of norms and biases is 0 unless `decay_all`."""
        still = set() if self.decay_all else _norms_and_biases(model)
        parameters = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        decayed = [p for n, p in parameters if n not in still]
        rest = [p for n, p in parameters if n in still]
        groups: list[dict[str, object]] = [{"params": decayed, "weight_decay": self.weight_decay}]
        if rest:
            groups.append({"params": rest, "weight_decay": 0.0})
        return groups

    def optimizer_for(self, groups: list[dict[str, object]]) -> Optimizer:
        """The recipe's optimiser over the given parameter groups (methods add groups of their own)."""
        if self.optimizer == "sgd":
            nesterov = self.nesterov and self.momentum > 0
            return SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=nesterov, fused=True)
        return AdamW(groups, lr=self.lr, betas=(self.momentum, 0.999), fused=True)

    def rate(self, step: int, steps: int) -> float:
        """The factor on the peak rate at step ``step`` (0-based) of a phase of ``steps`` steps."""
        warm = round(self.warmup * steps) if self.schedule != "onecycle" else 0
        if step < warm:
            return (step + 1) / warm
        x = (step - warm) / max(1, steps - warm)
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * x))
        if self.schedule == "onecycle":
            return _onecycle(step / max(1, steps), self.warmup or 0.3)
        if self.schedule == "multistep":
            return self.drop ** sum(step >= m * steps for m in self.milestones)
        return 1.0

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        """A context in which forward pass and loss are computed in the recipe's precision."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)

    @property
    def memory_format(self) -> torch.memory_format:
        """The memory format of images and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def _onecycle(x: float, rise: float) -> float:
    """The one-cycle schedule with cosine arms, from 1/25 up to 1 and down to 0 (Smith and Topin 2018, arXiv:1708.07120)."""
    if x < rise:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * x / rise))
    if rise == 1:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (x - rise) / (1 - rise)))


def _norms_and_biases(model: nn.Module) -> set[str]:
    norms = {f"{m}.{p}" for m, x in model.named_modules() if isinstance(x, _NORMS) for p, _ in x.named_parameters()}
    return norms | {n for n, p in model.named_parameters() if n.endswith("bias") or p.dim() <= 1}


KINDS = ("finetune", "lr", "weights")
FLOOR = 0.01  # the least rate of fine-tuning, as a share of the peak


@dataclass(frozen=True)
class Recovery:
    """How a pruned model is trained after its method has ended (see `bench.training.recovery`).

    Attributes:
        kind: one of `KINDS`.
        share: of the run's steps.
        rewind_to: of kind "weights", when the values are kept that weights are rewound to, as a share of the method's steps (0:
            at the run's start).
    """

    kind: str
    share: float
    rewind_to: float = 0.0

    def steps(self, steps: int) -> int:
        """Steps of the recovery in a run of ``steps``; the method and the recovery have one step each at least.

        Raises:
            BenchError: the run has fewer than two steps.
        """
        if steps < 2:
            raise BenchError(f"a recovery needs a step after the method's, but the run has {steps}; raise `epochs`")
        return min(max(1, round(self.share * steps)), steps - 1)

    def rewinds(self, steps: int) -> int | None:
        """The step whose values weights are rewound to, in a run of ``steps``; None where they are not rewound."""
        if self.kind != "weights":
            return None
        if not self.rewind_to:
            return 0
        return max(1, round(self.rewind_to * (steps - self.steps(steps))))

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe of the recovery; fine-tuning has a constant rate."""
        if self.kind == "finetune":
            return replace(recipe, schedule="constant", warmup=0.0)
        return recipe

    def peak(self, recipe: Recipe, steps: int) -> float:
        """The factor on the recipe's peak rate, after the method's schedule of ``steps``."""
        if self.kind == "finetune":
            return max(FLOOR, recipe.rate(steps - 1, steps))
        return 1.0
