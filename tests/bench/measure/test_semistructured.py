"""2:4 masks, and their kernels on a GPU."""

from __future__ import annotations

import pytest
import torch

from bench.errors import BenchError
from bench.measure import semistructured


def test_two_of_four_are_kept_and_they_are_the_largest() -> None:
    weight = torch.tensor([[1.0, -4.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0], [5.0, 5.0, 5.0, 5.0, -1.0, 2.0, -3.0, 4.0]])
    mask = semistructured.two_four(weight)
    assert mask[0, :4].tolist() == [False, True, False, True]
    assert mask[1, 4:].tolist() == [False, False, True, True]
    assert set(mask.reshape(-1, 4).sum(1).tolist()) == {2}
    with pytest.raises(BenchError, match="multiple of 4"):
        semistructured.two_four(torch.ones(2, 6))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", sorted(semistructured.DTYPES))
def test_two_four_on_a_gpu(dtype: str) -> None:
    device = torch.device("cuda", 0)
    if torch.cuda.get_device_capability(device) < semistructured.NEEDED:
        pytest.skip("needs compute capability 8.0")
    row = semistructured.compare(semistructured.Layer("fc", 256, 128, 64), device, dtype, seconds=0.1)
    assert row.ratio.ratio_q1 <= row.ratio.ratio <= row.ratio.ratio_q3
    assert row.backend in ("cutlass", "cusparselt")
