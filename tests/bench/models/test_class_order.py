"""Outputs follow the names of a task's classes."""

import pytest
import timm
import torch

from bench import models
from bench.errors import BenchError

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["cifar_resnet20", "test_resnet", "test_vit", "test_convnext"])
def test_outputs_move_with_the_names(name: str) -> None:
    model = timm.create_model(name, num_classes=4, **({"img_size": 32} if "vit" in name else {})).eval()
    before = model(IMAGES)
    note = models.match_classes_(model, ["a", "b", "c", "d"], ["c", "a", "d", "b"], what="run x")
    assert note == "outputs of run x were brought into the order of the task's classes, by their names"
    torch.testing.assert_close(model(IMAGES), before[:, [2, 0, 3, 1]])


@pytest.mark.parametrize(("have", "want"), [((), ("a", "b")), (("a", "b"), ()), (("a", "b"), ["a", "b"])])
def test_nothing_moves_where_names_agree_or_are_not_known(have: tuple[str, ...], want: tuple[str, ...]) -> None:
    model = timm.create_model("cifar_resnet20", num_classes=2).eval()
    before = model(IMAGES)
    assert models.match_classes_(model, have, want, what="it") == ""
    assert model(IMAGES).equal(before)


@pytest.mark.parametrize(
    ("want", "told"),
    [
        (["a", "x"], "'b' of the weights not in the task, 'x' of the task not in the weights; choose its task"),
        (["a", "b", "c"], "trained on 2 classes and the task has 3, 'c' of the task not in"),
        (["a"], "trained on 2 classes and the task has 1, 'b' of the weights not in"),
        (["v", "w", "x", "y", "z"], "'v', 'w', 'x' and 2 more of the task"),
    ],
)
def test_other_classes_are_refused_by_name(want: list[str], told: str) -> None:
    with pytest.raises(BenchError, match=told):
        models.match_classes_(torch.nn.Linear(1, 2), ["a", "b"], want, what="it")


def test_a_classifier_that_is_not_found_is_told() -> None:
    with pytest.raises(BenchError, match="a classifier that is not found"):
        models.match_classes_(torch.nn.Linear(1, 2), ["a", "b"], ["b", "a"], what="it")
