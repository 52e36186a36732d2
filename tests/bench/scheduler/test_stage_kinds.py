"""Each stage by itself: its plan, its leases, its end."""

from __future__ import annotations

from typing import Any

from optuna.storages import InMemoryStorage

from bench.records.home import Home
from bench.scheduler.stage_kinds import Context, ControlStage, DenseStage, FinalStage, TrialStage, all_failed
from bench.study.study import Study
from tests.bench.scheduler.jobs import compare, pareto, record


def context(study: Study) -> Context:
    return Context(study, Home(), InMemoryStorage())


def end_all(stage: Any, values: list[float] | None, reason: str = "") -> None:
    """Report every job of a stage."""
    while (job := stage.lease("me")) is not None:
        assert job.queue.tell(job.lease, values, {"reason": reason})


def test_a_stage_that_is_not_open_has_no_jobs() -> None:
    stage = DenseStage(context(compare()))
    assert stage.queues() == []
    assert stage.lease("me") is None
    assert list(stage.ended()) == []


def test_the_dense_stage_has_a_model_for_the_finals_and_one_for_the_trials() -> None:
    stage = DenseStage(context(compare()))
    assert stage.open() == 2
    assert [planned.run.test for planned in stage.planned] == [True, False]
    end_all(stage, [50.0])
    assert stage.is_over()


def test_a_study_without_dense_models_has_no_dense_stage() -> None:
    assert DenseStage(context(pareto())).open() == 0


def test_trials_start_from_the_dense_model_and_need_no_weights() -> None:
    study = compare()
    stage = TrialStage(context(study))
    assert stage.open() == 12  # of the method and of five baselines
    job = stage.lease("me")
    assert job is not None
    assert job.planned.run.start.startswith("run:")
    assert not job.keep_weights
    assert not stage.is_over()
    end_all(stage, [50.0])
    assert not stage.is_over()  # the first one is still leased
    assert job.queue.tell(job.lease, [50.0], {})
    assert stage.is_over()


def test_a_refused_configuration_is_leased_with_its_refusal() -> None:
    stage = TrialStage(context(pareto()))
    (cell,) = stage.cells.values()
    planned, refusal = stage.planned(cell, 0, {"final": 2.0})
    assert "final" in refusal
    assert planned.label == "gradual/test_resnet trial 0"


def test_a_study_without_trials_has_no_trial_stage() -> None:
    stage = TrialStage(context(compare(trials=0)))
    assert stage.open() == 0
    assert stage.is_over()
    assert stage.choose() == {}


def test_finals_are_those_of_the_chosen_trial_with_all_seeds() -> None:
    shared = context(pareto(final_seeds=(1000, 1001)))
    trials = TrialStage(shared)
    for top1 in (60.0, 50.0):
        job = trials.lease("me")
        assert job is not None
        assert job.queue.tell(job.lease, [top1, 0.5], {})
    finals = FinalStage(shared, DenseStage(shared), trials)
    assert finals.open() == 4
    assert [(n.kind, n.number, n.seeds[1]) for n in finals.planned[:2]] == [("final", 0, 1000), ("final", 0, 1001)]
    assert all(planned.run.test for planned in finals.planned)


def test_only_finished_finals_with_a_record_have_controls() -> None:
    shared = context(compare())
    trials = TrialStage(shared)
    end_all(trials, [50.0])
    finals = FinalStage(shared, DenseStage(shared), trials)
    finals.open()
    final = finals.lease("me")
    assert final is not None
    assert final.queue.tell(final.lease, [50.0], {})
    end_all(finals, [50.0])
    controls = ControlStage(shared, finals)
    assert controls.open() == 0  # there is no record
    record(final)
    assert controls.open() == 1
    (planned,) = controls.planned
    assert (planned.cell, planned.of) == ("random_ratios/test_resnet:gradual@0.8", "gradual/test_resnet@0.8")
    assert planned.run.shape == f"shuffled:{final.planned.run.id}"
    assert planned.params == {"of": final.planned.run.id}


def test_the_most_frequent_reasons_are_shown() -> None:
    error = all_failed("final", ["a", "b", "b", "c", "d", "d", "d"])
    assert str(error) == "a study needs one finished final at least, but all 7 failed: 3 x d; 2 x b; 1 x a"
