import pytest
import torch
from torch import nn

from bench import models
from bench.measure import summary
from bench.measure.parts import kinds, others
from bench.recipe import Recipe


class Mixed(nn.Module):
    """One of each kind; the classifier's weight is shared with a hidden layer's in `Tied`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)  # 108 weights, 4 biases
        self.norm = nn.BatchNorm2d(4)  # 8
        self.deep = nn.Conv2d(4, 4, 3, groups=4, bias=False)  # 36
        self.point = nn.Conv2d(4, 8, 1, bias=False)  # 32
        self.position = nn.Parameter(torch.zeros(5))
        self.recurrent = nn.LSTM(8, 2)  # 4 * 2 * (8 + 2 + 2)
        self.hidden = nn.Linear(8, 8)  # 64, 8
        self.head = nn.Linear(8, 8)  # 64, 8

    def get_classifier(self) -> nn.Module:
        return self.head


class Tied(Mixed):
    def __init__(self) -> None:
        super().__init__()
        self.head.weight = self.hidden.weight
        self.norm_again = self.norm


def test_kinds_by_hand() -> None:
    assert kinds(Mixed()) == {
        "stem.weight": "convolution",
        "deep.weight": "depthwise",
        "point.weight": "pointwise",
        "hidden.weight": "linear",
        "head.weight": "classifier",
    }
    assert kinds(nn.Linear(2, 2)) == {"weight": "linear"}


@pytest.mark.parametrize("model", [Mixed(), Tied()], ids=lambda m: type(m).__name__)
def test_the_rest_by_hand(model: nn.Module) -> None:
    assert others(model) == {"params/norms": 8, "params/biases": 20, "params/other": 5 + 96}


@pytest.mark.parametrize("name", ["test_vit_relpos", "test_efficientnet_evos", "test_nfnet", "test_coatnet"])
def test_the_parts_of_a_model_are_all_of_it(name: str) -> None:
    model, size = models.create(name, classes=10, channels=3, image_size=32, seed=0)
    options = {"prunable": [], "recipe": Recipe(), "device": torch.device("cpu"), "quick": True}
    found, table = summary(model, example_shape=(1, 3, size, size), **options)  # type: ignore[arg-type]
    rest = found["params/norms"] + found["params/biases"] + found["params/other"]
    assert found["params/all"] == found["weights/all"] + rest
    assert {row.kind for row in table} >= {"classifier", "pointwise" if name != "test_vit_relpos" else "linear"}
