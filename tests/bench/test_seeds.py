"""Seeds by address: pinned values, since every recorded number depends on them."""

import torch

from bench.seeds import address, generator


def test_an_address_is_the_same_seed_on_every_machine():
    assert address(0, "data", 1) == 6165688211217004550
    assert address("init") == 6749210588423060819
    assert address(1, 2) == address("1", "2") != address("12") == address(12)
    assert 0 <= address("x") < 2**63


def test_a_generator_is_on_the_cpu_and_starts_at_its_address():
    one, same, other = generator(0, "order"), generator(0, "order"), generator(1, "order")
    assert one.device == torch.device("cpu")
    assert one.initial_seed() == address(0, "order")
    drawn = [torch.rand(4, generator=g).tolist() for g in (one, same, other)]
    assert drawn[0] == drawn[1] != drawn[2]
