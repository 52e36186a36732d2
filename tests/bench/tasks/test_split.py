import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.tasks.split import canonical, stratified

LABELS = torch.tensor([0] * 20 + [1] * 10 + [2] * 30)


def test_each_class_gives_its_share() -> None:
    validation, rest = stratified(LABELS, [0.1], "a")
    assert LABELS[validation].bincount().tolist() == [2, 1, 3]
    assert LABELS[rest].bincount().tolist() == [18, 9, 27]


def test_two_shares_are_of_the_whole() -> None:
    test, validation, train = stratified(LABELS, [0.2, 0.2], "a")
    assert LABELS[test].bincount().tolist() == [4, 2, 6]
    assert LABELS[validation].bincount().tolist() == [4, 2, 6]
    assert LABELS[train].bincount().tolist() == [12, 6, 18]


def test_a_split_belongs_to_its_task() -> None:
    one, again, other = (stratified(LABELS, [0.5], task)[0] for task in ("a", "a", "b"))
    assert one.equal(again)
    assert not one.equal(other)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.lists(st.floats(0.01, 0.4), min_size=1, max_size=2))
def test_parts_are_disjoint_and_together_everything(labels: list[int], shares: list[float]) -> None:
    parts = stratified(torch.tensor(labels), shares, "a")
    assert torch.cat(parts).sort().values.tolist() == list(range(len(labels)))
    for label in set(labels):
        held = [sum(labels[i] == label for i in part.tolist()) for part in parts]
        assert held[-1] >= 1
        assert labels.count(label) <= len(shares) or min(held) >= 1


def test_canonical_order_forgets_the_order_of_the_source() -> None:
    images = torch.arange(6 * 4, dtype=torch.uint8).view(6, 2, 2, 1)
    labels = torch.tensor([1, 0, 2, 0, 1, 0])
    shuffle = torch.tensor([3, 5, 0, 2, 1, 4])
    one = canonical(images, labels)
    other = canonical(images[shuffle].contiguous(), labels[shuffle])
    assert labels[one].tolist() == [0, 0, 0, 1, 1, 2]
    assert images[one].equal(images[shuffle][other])
