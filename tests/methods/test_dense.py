"""The control does nothing."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bench.recipe import Recipe
from methods import dense


def test_dense_is_plain_training(train, toy_model, same):
    model, generator = toy_model(), torch.Generator().manual_seed(1)
    x, y = torch.randn(16, 1, 5, 5, generator=generator), torch.randn(16, 1, generator=generator)
    optimizer = Recipe(lr=0.05, weight_decay=0.01).make_optimizer(model)
    for _ in range(5):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    trained = train(dense.METHOD(), steps=5)
    assert same(trained.model, model)
    assert trained.phases == [("train", 5)]


def test_dense_has_no_knobs_and_no_target():
    method = dense.METHOD()
    assert (dense.SPACE, dense.CLAIMS, method.wanted, method.masks(dense.State())) == ({}, (), None, {})
    assert method.to_dict() == {"name": "dense"}
