import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bench.errors import BenchError
from bench.measure import accuracy
from bench.recipe import Recipe
from bench.seeds import generator

RECIPE = Recipe()


class Logits(nn.Module):
    """Gives its input, (N, C, 1, 1), back as logits."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * x.flatten(1)


def score(logits, labels, recipe=RECIPE):
    logits, labels = torch.as_tensor(logits), torch.as_tensor(labels)
    return accuracy(Logits(), [(logits[:, :, None, None], labels)], recipe)


def test_every_number_by_hand():
    # softmax of (log 3, 0) is (3/4, 1/4); two right of three, all with confidence 3/4
    found = score([[math.log(3), 0.0], [math.log(3), 0.0], [0.0, math.log(3)]], [0, 1, 1])
    assert found["top1"] == pytest.approx(200 / 3)
    assert found["top5"] == 100
    assert found["loss"] == pytest.approx((2 * math.log(4 / 3) + math.log(4)) / 3)
    assert found["ece"] == pytest.approx(abs(2 / 3 - 3 / 4))
    assert found["worst_class"] == 50
    assert found["n"] == 3


def test_ece_by_hand_with_two_bins():
    # confidences 0.9, 0.9 (one right) and 0.6 (right): (|1.8 - 1| + |0.6 - 1|) / 3
    found = score(torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]]).log(), [0, 1, 1])
    assert found["ece"] == pytest.approx((0.8 + 0.4) / 3)


def naive_ece(probabilities, labels):
    confidence, predicted = probabilities.max(1)
    total = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            gap = (predicted[inside] == labels[inside]).double().mean() - confidence[inside].double().mean()
            total += float(inside.double().mean() * gap.abs())
    return total


@given(seed=st.integers(0, 1000), n=st.integers(1, 80), classes=st.integers(1, 12), parts=st.integers(1, 4))
def test_agrees_with_the_plain_computation_however_batches_are_cut(seed, n, classes, parts):
    rng = generator("quality", seed)
    logits = 3 * torch.randn(n, classes, generator=rng)
    labels = torch.randint(classes, (n,), generator=rng)
    batches = zip(logits[:, :, None, None].chunk(parts), labels.chunk(parts), strict=True)
    found = accuracy(Logits(), batches, RECIPE)
    ranked = logits.argsort(1, descending=True)
    hits = ranked[:, 0] == labels
    assert found["top1"] == pytest.approx(100 * hits.double().mean().item())
    assert found["top5"] == pytest.approx(100 * (ranked[:, :5] == labels[:, None]).any(1).double().mean().item())
    assert found["loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5, abs=1e-6)
    assert found["ece"] == pytest.approx(naive_ece(logits.softmax(1), labels), abs=1e-6)
    worst = min(hits[labels == c].double().mean().item() for c in labels.unique())
    assert found["worst_class"] == pytest.approx(100 * worst)
    assert found["n"] == n


def compare(logits, dense, labels, parts=1):
    """Both models' logits as one image (N, 2, C, 1), of which each model reads its half."""

    class Half(Logits):
        def __init__(self, half):
            super().__init__()
            self.half = half

        def forward(self, x):
            return super().forward(x[:, self.half])

    images, labels = (
        torch.stack([torch.as_tensor(logits), torch.as_tensor(dense)], 1)[..., None],
        torch.as_tensor(labels),
    )
    batches = zip(images.chunk(parts), labels.chunk(parts), strict=True)
    return accuracy(Half(0), list(batches), RECIPE, Half(1))


def test_agreement_and_the_class_that_lost_most_by_hand():
    # predictions 0 1 1 0 0, of the dense model 0 0 1 1 0, labels 0 0 1 1 1: class 0 from 2/2 to 1/2, class 1 from 2/3 to 1/3
    one, zero = [0.0, 1.0], [1.0, 0.0]
    found = compare([zero, one, one, zero, zero], [zero, zero, one, one, zero], [0, 0, 1, 1, 1], parts=2)
    assert found["agreement"] == pytest.approx(60)
    assert found["class_drop"] == pytest.approx(50)
    assert (found["worst_class"], found["worst_class_index"]) == (pytest.approx(100 / 3), 1)
    assert {k: v for k, v in found.items() if k not in ("agreement", "class_drop")} == score(
        [zero, one, one, zero, zero], [0, 0, 1, 1, 1]
    )


@given(seed=st.integers(0, 1000), n=st.integers(1, 60), classes=st.integers(1, 7), parts=st.integers(1, 4))
def test_comparison_with_the_dense_model_agrees_with_the_plain_computation(seed, n, classes, parts):
    rng = generator("agreement", seed)
    logits, dense = torch.randint(3, (2, n, classes), generator=rng).float()  # ties abound
    labels = torch.randint(classes, (n,), generator=rng)
    found = compare(logits, dense, labels, parts)
    one, other = logits.argmax(1), dense.argmax(1)
    assert found["agreement"] == pytest.approx(100 * (one == other).double().mean().item())
    lost = [((other == c).double() - (one == c).double())[labels == c].mean().item() for c in labels.unique()]
    assert found["class_drop"] == pytest.approx(100 * max(lost))


def test_rows_that_are_no_numbers_agree_with_nothing():
    nan = [math.nan, 0.0]
    assert compare([nan, [1.0, 0.0]], [nan, nan], [0, 0])["agreement"] == 0
    assert compare([nan, [1.0, 0.0]], [[1.0, 0.0]] * 2, [0, 0])["agreement"] == 50


def test_of_classes_that_are_equally_bad_the_first_is_the_worst():
    assert score([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [0, 1, 2])["worst_class_index"] == 0


def test_one_class():
    assert score([[2.0], [-1.0]], [0, 0]) == {
        "top1": 100,
        "top5": 100,
        "loss": 0,
        "ece": 0,
        "worst_class": 100,
        "worst_class_index": 0,
        "n": 2,
    }


def test_equal_logits_rank_by_class_number():
    found = score(torch.zeros(10, 10), list(range(10)))
    assert found["top1"] == 10
    assert found["top5"] == 50


def test_nan_logits_are_wrong_and_make_the_loss_nan():
    found = score([[math.nan, math.nan], [5.0, 0.0]], [0, 0])
    assert found["top1"] == found["top5"] == 50
    assert math.isnan(found["loss"])
    assert math.isnan(found["ece"])


def test_no_images():
    with pytest.raises(BenchError, match="at least one image"):
        accuracy(Logits(), [], RECIPE)


def test_modes_are_as_before_and_dropout_is_off():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(0.9), nn.Linear(4, 3))
    model[1].eval()  # a norm frozen by its user stays frozen
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = torch.randn(8, 4, 1, 1, generator=generator("modes")), torch.arange(8) % 3
    assert accuracy(model, [batch], RECIPE) == accuracy(model, [batch], RECIPE)
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_modes_are_as_before_after_an_error():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(RuntimeError):
        accuracy(model, [(torch.zeros(2, 5, 1, 1), torch.zeros(2, dtype=torch.long))], RECIPE)
    assert model.training


def test_precision_of_the_recipe():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 16))
    seen = []
    model.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    batch = torch.rand(4, 16, 1, 1, generator=generator("precision")), torch.arange(4)
    accuracy(model, [batch], Recipe(precision="fp32"))
    accuracy(model, [batch], Recipe(precision="bf16"))
    assert seen == [torch.float32, torch.bfloat16]
