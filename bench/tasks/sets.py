"""The named tasks. To add a task, add one entry to `SETS`: its facts, its look, and where its images come from."""

from __future__ import annotations

from bench.tasks.arrays import IMAGENET_MEAN, IMAGENET_STD, Look
from bench.tasks.base import Info
from bench.tasks.image_set import ImageSet
from bench.tasks.sources import Bundled, Torchvision, digits

# Colour sets use ImageNet's statistics, with which public CIFAR ResNets were trained; grey sets use their own.
COLOUR = Look(IMAGENET_MEAN, IMAGENET_STD, padding=4, reflect=True, mirror=True)

SETS = (
    ImageSet(
        Info("digits", 10, 1, 32, "1,797 handwritten digits of scikit-learn, enlarged to 32x32; no download"),
        Look((0.306,), (0.324,), padding=2, reflect=False, mirror=False),
        Bundled("scikit-learn", "digits", digits),
    ),
    ImageSet(
        Info("mnist", 10, 1, 28, "MNIST: 70,000 handwritten digits, 28x28 grey"),
        Look((0.1307,), (0.3081,), padding=2, reflect=False, mirror=False),
        Torchvision("MNIST", "MNIST/raw"),
    ),
    ImageSet(
        Info("fashion_mnist", 10, 1, 28, "Fashion-MNIST: 70,000 pieces of clothing, 28x28 grey"),
        Look((0.286,), (0.353,), padding=2, reflect=False, mirror=True),
        Torchvision("FashionMNIST", "FashionMNIST/raw"),
    ),
    ImageSet(
        Info("cifar10", 10, 3, 32, "CIFAR-10: 60,000 photographs of 10 classes, 32x32 colour"),
        COLOUR,
        Torchvision("CIFAR10", "cifar-10-batches-py"),
    ),
    ImageSet(
        Info("cifar100", 100, 3, 32, "CIFAR-100: 60,000 photographs of 100 classes, 32x32 colour"),
        COLOUR,
        Torchvision("CIFAR100", "cifar-100-python"),
    ),
)
