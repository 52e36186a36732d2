"""The base of our families: channels, the classifier, and registration in timm's registry."""

import warnings
from importlib import reload

import timm
import torch

from bench import models
from bench.models import lenet
from bench.models.family import scaled


def test_importing_a_family_anew_registers_it_once() -> None:
    before = models.families()
    with warnings.catch_warnings(action="error"):
        reload(lenet)
    assert models.families() == before


def test_without_a_classifier_a_model_gives_its_features() -> None:
    model = timm.create_model("cifar_resnet20")
    model.reset_classifier(0)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 64)


def test_channels_are_rounded_and_never_none() -> None:
    assert [scaled(channels, 0.5) for channels in (64, 5, 7, 1)] == [32, 2, 4, 1]
    assert scaled(300, 1.0) == 300
    assert scaled(16, 0.01) == 1
