import torch
from torch import nn

from bench.perf.benchmark import Nothing
from bench.perf.side_by_side import Comparison, Repeated, compare, ours, plain
from bench.recipe import Recipe
from bench.seeds import generator

CPU = torch.device("cpu")


def test_blocks_come_in_turns_after_one_of_each_to_warm_up():
    order = []

    def block(letter):
        return lambda: float(order.append(letter) or len(order))

    found = compare("b", "a", 1.0, block("B"), block("A"), rounds=2)
    assert "".join(order) == "AB" + "ABBA" * 2
    assert found.theirs == (3, 6, 7, 10)
    assert found.ours == (4, 5, 8, 9)


def test_a_steady_drift_of_the_machine_cancels():
    clock = iter(range(1, 100))
    assert compare("b", "a", 1.0, lambda: float(next(clock)), lambda: float(next(clock)), rounds=3).ratios == [1, 1, 1]


def test_ratios_by_hand():
    found = Comparison("b", "a", 1.05, ours=(2.0, 2.0, 3.0, 3.0, 8.0, 8.0), theirs=(1.0, 3.0, 4.0, 2.0, 4.0, 4.0))
    assert found.ratios == [1, 1, 2]
    assert found.quartiles == (1, 1, 1.5)
    row = found.to_dict()
    assert (row["ratio"], row["met"], row["seconds"], row["reference_seconds"]) == (1, True, 3, 3.5)


class Counting(nn.Module):
    """A linear model whose training steps are counted by class, since each block trains a copy."""

    seen = []

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        if self.training:
            self.seen.append(x[0, 0, 0, 0].item())
        return self.layer(x.flatten(1))


def test_both_loops_take_the_same_steps_and_leave_the_model_alone():
    model, rng = Counting(), generator("side by side")
    kept = [(torch.rand(6, 1, 2, 2, generator=rng), torch.arange(6) % 3) for _ in range(2)]
    before = model.layer.weight.detach().clone()
    seconds, taken = [], []
    for block in (lambda b: ours(Nothing(), model, Recipe(), b, CPU), lambda b: plain(model, Recipe(), b, CPU)):
        Counting.seen.clear()
        seconds.append(block(Repeated(kept, 5)))
        taken.append(list(Counting.seen))
    assert taken[0] == taken[1] == [kept[i % 2][0][0, 0, 0, 0].item() for i in range(5)]
    assert min(seconds) > 0
    assert torch.equal(model.layer.weight, before)


def test_repeated_batches_can_be_skipped():
    batches = Repeated([(torch.tensor(0), torch.tensor(0)), (torch.tensor(1), torch.tensor(1))], 5)
    assert [int(x) for x, _ in batches.epoch(0, skip=3)] == [1, 0]
    assert len(list(batches)) == 5
