"""The weights of convolutions and linear layers: which there are, what a layer computes with, and which ones a mask reaches.

A mask zeros entries of a parameter. That makes a layer sparse only where the layer computes with the parameter as it is. Layers
that transform it first (weight standardisation, weight norm, spectral norm, a parametrization of torch) compute with other
values: of a standardised filter no zero is left. Such layers are never masked; `unreached` names their weights, and
`computed` has what they compute with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
FUNCTIONS = (F.linear, F.conv1d, F.conv2d, F.conv3d)
"""The functions of torch that these layers call with their weight."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_PLAIN = tuple(kind.forward for kind in LAYERS)


@dataclass(frozen=True)
class Unreached:
    """A weight that no mask reaches: the parameter's ``name``, the ``kind`` of its module, and how many ``weights`` it has."""

    name: str
    kind: str
    weights: int


def users(model: nn.Module) -> dict[str, list[tuple[str, nn.Module]]]:
    """The convolutions and linear layers, with their paths, by the name of their weight, in the model's order; layers that
    share a weight stand together. A weight that is no parameter, as under weight norm, is named in the same way."""
    first, found = dict[int, str](), dict[str, list[tuple[str, nn.Module]]]()
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, LAYERS):
            weight = module._parameters.get("weight")
            name = first.setdefault(id(module if weight is None else weight), f"{path}.weight".removeprefix("."))
            found.setdefault(name, []).append((path, module))
    return found


def weights(model: nn.Module, *, classifier: bool = True) -> dict[str, nn.Parameter]:
    """The weight parameters of convolutions and linear layers by name, each once, with or without the classifier's."""
    heads = set() if classifier else _classifier_parameters(model)
    stored = {name: layers[0][1]._parameters.get("weight") for name, layers in users(model).items()}
    return {name: weight for name, weight in stored.items() if weight is not None and id(weight) not in heads}


def prunable(
    model: nn.Module, *, classifier: bool = False, first: bool = True, depthwise: bool = True
) -> dict[str, nn.Parameter]:
    """The weights of convolutions and linear layers that a mask reaches, by parameter name, in the model's order.

    A weight that two layers share is listed once.

    Args:
        model: any.
        classifier: include the weights of what timm's `get_classifier` returns.
        first: include the first convolution's weight (`first_convolution`).
        depthwise: include the weights of depthwise convolutions (one filter to each input channel).
    """
    spared = {"" if first else first_convolution(model)}
    chosen, layers = weights(model, classifier=classifier), users(model)
    return {
        name: weight
        for name, weight in chosen.items()
        if name not in spared
        and (depthwise or not any(is_depthwise(module) for _, module in layers[name]))
        and not any(transforms(module) for _, module in layers[name])
    }


def first_convolution(model: nn.Module) -> str:
    """The name of the weight of the model's first convolution; "" where it has none."""
    found = (name for name, layers in users(model).items() if isinstance(layers[0][1], _CONVOLUTIONS))
    return next(found, "")


def is_depthwise(module: nn.Module) -> bool:
    """Whether a module is a convolution with one filter, or several, to each input channel."""
    return isinstance(module, _CONVOLUTIONS) and module.groups == module.in_channels > 1


def classifier_modules(model: nn.Module) -> list[nn.Module]:
    """The modules that timm's `get_classifier` returns; empty where the model has no such method."""
    get = getattr(model, "get_classifier", None)
    if not callable(get):
        return []
    head = get()
    if isinstance(head, (list, tuple)):  # distilled models return two heads
        return [m for m in head if isinstance(m, nn.Module)]
    return [head] if isinstance(head, nn.Module) else []


def _classifier_parameters(model: nn.Module) -> set[int]:
    return {id(p) for m in classifier_modules(model) for p in m.parameters()}


def classifier_weights(model: nn.Module) -> set[str]:
    """The names of the classifier's weights."""
    heads = _classifier_parameters(model)
    return {name for name, weight in weights(model).items() if id(weight) in heads}


# What a layer computes with


def computed(model: nn.Module) -> dict[str, Tensor]:
    """What each convolution and linear layer computes with, by the name of its weight (as `users`), each once: the parameter
    itself, or what the layer makes of it."""
    return {name: _computed(layers[0][1]) for name, layers in users(model).items()}


def _computed(module: nn.Module) -> Tensor:
    found = _used(module) if _may_transform(module) else None
    if found is None:
        return cast(Tensor, module.weight)
    return found


def transforms(module: nn.Module) -> bool:
    """Whether a convolution or linear layer computes with another tensor than its parameter ``weight``. A layer that cannot be
    looked into counts as one that does."""
    return _may_transform(module) and _used(module) is not module._parameters.get("weight", module)


def _may_transform(module: nn.Module) -> bool:
    """Whether a layer is anything but one of torch's own, with a parameter."""
    kind = type(module)
    own = kind.forward not in _PLAIN or "forward" in vars(module)
    own = own or getattr(kind, "_conv_forward", None) not in {getattr(plain, "_conv_forward", None) for plain in LAYERS}
    return own or module._parameters.get("weight") is None


def _used(module: nn.Module) -> Tensor | None:
    """The weight that a layer hands to torch's function; None where it hands over none. The layer is left as it was."""
    training = module.training
    module.eval()  # in training mode, spectral norm changes with each look
    try:
        with torch.no_grad():
            if parametrize.is_parametrized(module, "weight"):
                found: Tensor = module.weight  # type: ignore[assignment]
                return found
            look = _Look()
            with look:
                # Hooks are left out, unless one of them makes the weight, as the older weight norm's does.
                call = module.forward if module._parameters.get("weight") is not None else module
                call(_example(module))
            return look.weight
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):  # a layer that wants other inputs
        return None
    finally:
        module.train(training)


def _example(module: Any) -> Tensor:
    """The smallest input of a layer."""
    like: Tensor = next(iter(module.parameters(recurse=False)))
    if isinstance(module, nn.Linear):
        return like.new_zeros(1, module.in_features)
    spans = [(size - 1) * step + 1 for size, step in zip(module.kernel_size, module.dilation, strict=True)]
    return like.new_zeros(1, module.in_channels, *spans)


class _Look(TorchFunctionMode):
    """Remembers the first weight that a convolution or a linear function is called with."""

    weight: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in FUNCTIONS and self.weight is None:
            self.weight = weight_argument(args, kwargs)
        return func(*args, **kwargs)


def weight_argument(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The weight in a call of one of `FUNCTIONS`."""
    if "weight" in kwargs:
        return kwargs["weight"]
    return args[1]


# What no mask reaches


def unreached(model: nn.Module) -> list[Unreached]:
    """The weights that no mask reaches, in the model's order: the matrices and larger tensors of all modules but norms that
    `prunable` leaves out even with the classifier, such as recurrent weights, fused projections of attention, transposed and
    conditional convolutions, embeddings, tables, and the weights of layers that transform them."""
    reached = {id(weight) for weight in prunable(model, classifier=True).values()}
    modules = dict(model.named_modules())
    found = list[Unreached]()
    for name, parameter in model.named_parameters():
        path = (
            name.partition(".parametrizations.")[0] if ".parametrizations." in f".{name}" else name.rpartition(".")[0]
        )
        kind = type(modules["" if path.startswith("parametrizations.") else path]).__name__
        if id(parameter) not in reached and _is_matrix(parameter) and "norm" not in kind.lower():
            found.append(Unreached(name, kind, parameter.numel()))
    return found


def _is_matrix(tensor: Tensor) -> bool:
    return sum(size > 1 for size in tensor.shape) > 1


def reach(chosen: Iterable[Tensor], model: nn.Module) -> float:
    """The share of some weights in all that a mask reaches, the classifier's included, and all that are `unreached`."""
    sizes = [weight.numel() for weight in prunable(model, classifier=True).values()]
    total = sum(sizes) + sum(one.weights for one in unreached(model))
    return sum(weight.numel() for weight in chosen) / total if total else 0.0
