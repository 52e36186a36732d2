"""The starting point for newcomers works as it stands."""

from __future__ import annotations

import pytest
import torch

from bench import registry
from methods import _template


def test_template_prunes_once_and_stays_there(train):
    zeros = {}
    train(
        _template.METHOD(when=0.5, final=0.5),
        look=lambda clock, state, model: zeros.update({clock.step: int((model.conv2.weight == 0).sum())}),
    )
    assert [zeros[step] for step in (0, 11, 12, 24)] == [0, 0, 72, 72]


@pytest.mark.parametrize("when", [0.0, 1.0])
def test_template_meets_its_target_wherever_it_prunes(train, when):
    model = train(_template.METHOD(when=when, final=0.25)).model
    assert [int((w == 0).sum()) for w in (model.conv1.weight, model.hidden.weight)] == [round(54 / 4), 24]


def test_template_is_no_method():
    assert "_template" not in registry.names(registry.METHODS)
    assert torch.equal(_template.magnitude({"w": torch.tensor([-2.0, 1.0])})["w"], torch.tensor([2.0, 1.0]))
