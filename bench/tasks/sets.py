"""The named tasks. To add a task, add one entry to `SETS`: its facts, its look, and where its images come from."""

from __future__ import annotations

from bench.tasks.arrays import IMAGENET_MEAN, IMAGENET_STD, Look
from bench.tasks.base import Info
from bench.tasks.image_set import ImageSet
from bench.tasks.sources import Bundled, Torchvision, digits

DIGITS = tuple("0123456789")
CLOTHES = (*("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),)
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100 = (
    *("apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl"),
    *("boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair"),
    *("chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin"),
    *("elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp"),
    *("lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain"),
    *("mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck"),
    *("pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road"),
    *("rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider"),
    *("squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television"),
    *("tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf"),
    *("woman", "worm"),
)
"""The classes' names in the order of their numbers, as the archives of the sets have them."""

# Colour sets use ImageNet's statistics, with which public CIFAR ResNets were trained; grey sets use their own.
COLOUR = Look(IMAGENET_MEAN, IMAGENET_STD, padding=4, reflect=True, mirror=True)

SETS = (
    ImageSet(
        Info("digits", 10, 1, 32, "1,797 handwritten digits of scikit-learn, enlarged to 32x32; no download", DIGITS),
        Look((0.306,), (0.324,), padding=2, reflect=False, mirror=False),
        Bundled("scikit-learn", "digits", digits),
    ),
    ImageSet(
        Info("mnist", 10, 1, 28, "MNIST: 70,000 handwritten digits, 28x28 grey", DIGITS),
        Look((0.1307,), (0.3081,), padding=2, reflect=False, mirror=False),
        Torchvision("MNIST", "MNIST/raw"),
    ),
    ImageSet(
        Info("fashion_mnist", 10, 1, 28, "Fashion-MNIST: 70,000 pieces of clothing, 28x28 grey", CLOTHES),
        Look((0.286,), (0.353,), padding=2, reflect=False, mirror=True),
        Torchvision("FashionMNIST", "FashionMNIST/raw"),
    ),
    ImageSet(
        Info("cifar10", 10, 3, 32, "CIFAR-10: 60,000 photographs of 10 classes, 32x32 colour", CIFAR10),
        COLOUR,
        Torchvision("CIFAR10", "cifar-10-batches-py"),
    ),
    ImageSet(
        Info("cifar100", 100, 3, 32, "CIFAR-100: 60,000 photographs of 100 classes, 32x32 colour", CIFAR100),
        COLOUR,
        Torchvision("CIFAR100", "cifar-100-python"),
    ),
)
