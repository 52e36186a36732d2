"""Runs: their ids, which are the folders of all records."""

from __future__ import annotations

from typing import Any

import pytest

from bench.run import Run, new_run

IDS: list[tuple[str, tuple[str, ...], dict[str, Any], str]] = [
    ("sap", (), {}, "24b2f7895f38"),
    ("gradual", ("final=0.9", "epochs=2", "seed=3"), {}, "1fcb40cff133"),
    ("drop", ("rule=target", "recover=last"), {}, "78c842d3c926"),
    ("dense", ("lr=0.1", "batch=128", "precision=bf16", "test=true"), {}, "6795f7c018b0"),
    ("depgraph", ("final=0.5", "leave.how=decay", "leave.steps=50", "leave.rectify=true"), {}, "3b3e3d1a28ce"),
    ("rigl", ("start=run:0123456789ab", "recovery=lr", "recover=0.4"), {}, "73c381fb1a8c"),
    ("lottery", ("rate=0.5", "recovery=weights", "rewind_to=0.1", "start=timm"), {}, "93be5171cab6"),
    ("oneshot", ("criterion=random", "when=0", "shape=shuffled:0123456789ab"), {}, "118e111a693a"),
    ("otov2", ("budget=params",), {"task": "folder:/data/my set", "model": "cifar_resnet20"}, "d503f44cc6e4"),
    ("adaptive", ("threads=1", "device=cpu", "workers=0", "image_size=64"), {}, "29d4e9bacdff"),
    (
        "small_dense",
        ("optimizer=adamw", "weight_decay=0.05", "schedule=cosine", "warmup=0.1", "clip=1"),
        {"model": "test_vit"},
        "32862fdcc186",
    ),
    ("gate_decorator", ("recovery=finetune",), {"task": "cifar10"}, "342223974108"),
    ("decay", ("schedule=multistep", "milestones=0.5,0.75", "label_smoothing=0.1"), {}, "364a05c24f9b"),
    (
        "sap",
        ("rounds=3", "p=0.2", "scope=global", "recovery=lr"),
        {"task": "wikitext2", "model": "lstm"},
        "6c1a8eedeaba",
    ),
]
"""Method, settings, fields of the run, and its id as earlier versions computed it."""


@pytest.mark.parametrize(("method", "settings", "values", "expected"), IDS, ids=[case[-1] for case in IDS])
def test_the_ids_of_runs_are_those_of_before(
    method: str, settings: tuple[str, ...], values: dict[str, Any], expected: str
) -> None:
    """If this fails, the records of finished runs are no longer found. See which field's name, default or JSON form has
    changed, and restore it."""
    run = new_run(method, settings, **values)
    assert run.id == expected
    assert Run.from_dict(run.to_dict()).id == expected
