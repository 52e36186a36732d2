"""Wide residual networks: the published size."""

import torch

from bench.models.cifar_wrn import CifarWRN


def test_the_published_wrn_28_10_has_36_5_million_parameters() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in CifarWRN(28, 10).parameters()) == 36_479_194
