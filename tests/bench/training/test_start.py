"""What a run starts from: the shape of a finished run, with other weights, and the controls that follow from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from bench import models
from bench.channels.groups import shrink_
from bench.channels.kernels import then
from bench.errors import BenchError, MissingData
from bench.records.files import read_json
from bench.records.home import Home
from bench.run import Run, new_run
from bench.study.controls import NAMES, OTHER, derive
from bench.training.execute import execute, load_model
from bench.training.start import known
from tests.toys import same, weights

TINY = ("model=test_resnet", "image_size=16", "epochs=0.5", "batch=256", "lr=0.05")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("start")
    return replace(Home(), path=folder)


def done(home: Home, method: str, *settings: str) -> Run:
    run = new_run(method, (*TINY, *settings))
    execute(run, home)
    return run


@pytest.fixture(scope="module")
def pruned(home: Home) -> Run:
    return done(home, "depgraph", "final=0.5")


@pytest.fixture(scope="module")
def masked(home: Home) -> Run:
    return done(home, "oneshot", "final=0.8", "when=0", "allocation=global")


def sizes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: p.shape for name, p in model.named_parameters()}


def finished(home: Home, run: Run) -> nn.Module:
    return load_model(home.records.run(run.id))[0]


def zeros(model: nn.Module) -> dict[str, int]:
    return {n: int((p == 0).sum()) for n, p in model.named_parameters() if p.dim() > 1}


def test_a_run_goes_on_from_a_smaller_model(home: Home, pruned: Run) -> None:
    more = done(home, "dense", f"start=run:{pruned.id}")
    assert sizes(finished(home, more)) == sizes(finished(home, pruned))
    record, first = home.records.record(more.id), home.records.record(pruned.id)
    assert record is not None
    assert first is not None
    assert record.metrics.macs_fraction == first.metrics.macs_fraction
    assert record.cost.start_steps == record.cost.steps


def test_channels_can_be_rewound(home: Home, pruned: Run) -> None:
    again = done(home, "dense", f"shape=run:{pruned.id}", "lr=1e-12", "weight_decay=0")
    plan = read_json(home.records.run(pruned.id) / "plan.json")
    whole, _ = models.create("test_resnet", classes=10, channels=1, image_size=plan["image_size"], seed=pruned.seed)
    shrink_(whole, plan["kept"])
    found = dict(finished(home, again).named_parameters())
    assert all(torch.allclose(p, found[n], atol=1e-6) for n, p in whole.named_parameters())


def test_what_was_pruned_at_once_and_is_rewound_is_the_same_run(home: Home, masked: Run) -> None:
    again = done(home, "dense", f"shape=run:{masked.id}")
    assert same(weights(finished(home, again)), weights(finished(home, masked)))


def test_zeros_are_held_while_all_else_is_trained(home: Home, masked: Run) -> None:
    again = done(home, "dense", f"shape=run:{masked.id}", "seed=1")
    before, after = weights(finished(home, masked)), weights(finished(home, again))
    assert zeros(finished(home, again)) == zeros(finished(home, masked))
    assert all(torch.equal(p == 0, after[n] == 0) for n, p in before.items() if p.dim() > 1)
    assert not same(before, after)


def test_shuffled_zeros_are_as_many_in_each_layer_but_elsewhere(home: Home, masked: Run) -> None:
    again = done(home, "dense", f"shape=shuffled:{masked.id}")
    before, after = finished(home, masked), finished(home, again)
    assert zeros(before) == zeros(after)
    assert any(not torch.equal(p == 0, dict(after.named_parameters())[n] == 0) for n, p in before.named_parameters())


def test_a_shape_with_zeros_in_a_model_that_shrinks_is_refused(home: Home, masked: Run) -> None:
    with pytest.raises(BenchError, match="zeros can be held in a model that keeps its size"):
        execute(new_run("depgraph", (*TINY, "epochs=1", f"shape=run:{masked.id}")), home)


def test_what_is_no_shape_is_refused(home: Home, pruned: Run) -> None:
    with pytest.raises(BenchError, match="write shape=run:ID"):
        new_run("dense", ["shape=123"])
    with pytest.raises(MissingData, match="run that one first"):
        execute(new_run("dense", (*TINY, "shape=run:none")), home)
    with pytest.raises(BenchError, match="has lost channels already"):
        execute(new_run("dense", (*TINY, f"start=run:{pruned.id}", f"shape=run:{pruned.id}")), home)
    with pytest.raises(BenchError, match="name a run of the same model"):
        execute(new_run("dense", ("model=test_vit", "epochs=1", f"shape=run:{pruned.id}")), home)


def test_a_pruned_model_can_be_pruned_again(home: Home, pruned: Run) -> None:
    again = done(home, "depgraph", "final=0.7", "budget=channels", "round_to=1", f"start=run:{pruned.id}")
    model, plan = load_model(home.records.run(again.id))
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in finished(home, pruned).parameters())
    assert plan["kept"]


def test_one_plan_after_another() -> None:
    first = {"a": {0: [1, 3, 5], 1: [0, 2]}, "b": {0: [4]}}
    second = {"a": {"0": [0, 2]}, "c": {1: [7]}}
    assert then(first, second) == {"a": {0: [1, 5], 1: [0, 2]}, "b": {0: [4]}, "c": {1: [7]}}


def test_what_follows_from_a_run(home: Home, pruned: Run, masked: Run) -> None:
    plain = new_run("dense").method

    def made(run: Run) -> dict[str, Run | None]:
        record = home.records.record(run.id)
        assert record is not None
        return {name: derive(name, run, record, plain, ("lr=0.1",)) for name in NAMES}

    channels, weights = made(pruned), made(masked)
    assert channels["random_ratios"] is None  # nothing in it is zero
    seeds = {name: run.seed for name, run in channels.items() if run is not None}
    assert {name: seed - pruned.seed for name, seed in seeds.items()} == {
        "rewound": 0,
        "reinit": OTHER,
        "scratch_epochs": 0,
        "scratch_macs": 0,
    }
    rewound, longer = channels["rewound"], channels["scratch_macs"]
    assert rewound is not None
    assert (rewound.shape, rewound.epochs, rewound.recipe) == (f"run:{pruned.id}", 0.5, pruned.recipe)
    assert longer is not None
    first = home.records.record(pruned.id)
    assert first is not None
    assert longer.epochs == round(0.5 / first.metrics.macs_fraction, 2)
    assert longer.recipe.lr == 0.1
    shares = weights["random_ratios"]
    assert shares is not None
    assert shares.shape == f"shuffled:{masked.id}"
    dense = done(home, "dense")
    assert set(made(dense).values()) == {None}


def test_a_file_of_ours_says_which_images_it_saw_and_another_does_not(home: Home) -> None:
    """The number that follows from a file that says nothing is marked, and what follows from that too."""
    dense = done(home, "dense", "test=true")
    file = home.records.run(dense.id) / "model.safetensors"
    silent = home.path / "silent.safetensors"
    models.save_weights(finished(home, dense), silent)
    first = home.records.record(dense.id)
    ours = home.records.record(done(home, "dense", f"start={file}").id)
    unknown = home.records.record(done(home, "dense", f"start={silent}").id)
    assert first is not None
    assert ours is not None
    assert unknown is not None
    following = home.records.record(done(home, "oneshot", f"start=run:{unknown.id}", "when=0").id)
    assert following is not None
    assert first.starting_weights is None
    assert ours.starting_weights is not None
    assert [(i.task, i.digest, i.split) for i in ours.starting_weights.images] == [
        ("digits", first.provenance.data["digest"], "train")
    ]
    assert (ours.label, ours.warnings, ours.cost.start_known) == ("", (), True)
    assert ours.cost.start_steps == ours.starting_weights.steps == first.cost.steps
    for record in (unknown, following):
        assert record.label == "unsafe start"
        assert record.warnings == ("starting weights: they do not declare the images of their training",)
        assert not record.cost.start_known
        assert record.starting_weights is not None
        assert record.starting_weights.root == unknown.identity["start"]


def test_weights_of_timm_do_not_say_what_they_saw(home: Home) -> None:
    found = known(new_run("dense", ("start=timm",)), home.records)
    assert found is not None
    assert (found.root, found.complete, found.steps) == ("timm", False, None)
