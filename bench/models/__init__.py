"""Models: timm's architectures by name, and the families of the pruning papers, entered into timm's registry."""

from bench.models import cifar_resnet, cifar_vgg, cifar_wrn, lenet, sap_nets  # noqa: F401 - they register themselves
from bench.models.class_order import match_classes_
from bench.models.factory import check, create, empty, families, input_size, names
from bench.models.siblings import Sibling, smaller
from bench.models.weights import load_weights, read_metadata, save_weights

__all__ = [
    "Sibling",
    "check",
    "create",
    "empty",
    "families",
    "input_size",
    "load_weights",
    "match_classes_",
    "names",
    "read_metadata",
    "save_weights",
    "smaller",
]
