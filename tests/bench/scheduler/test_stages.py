"""Stages open one after the other, with the queues and jobs that the versions before had."""

from __future__ import annotations

import pytest
from optuna.storages import InMemoryStorage

from bench.errors import BenchError
from bench.scheduler import shared_study
from bench.scheduler.job_queue import JobQueue
from tests.bench.scheduler.jobs import compare, fail, finish, leased, pareto, stages_of


def queue_names(storage: InMemoryStorage, study: str) -> list[str]:
    """The names of the queues, without the study's."""
    names = sorted(found.study_name for found in storage.get_all_studies())
    return [name.removeprefix(f"{study}/") for name in names if name != study]


def test_a_study_without_dense_models_goes_from_trials_to_finals() -> None:
    """Pinned: a study that was begun by a version before must find its jobs in queues of the same names."""
    study, storage = pareto(), InMemoryStorage()
    stages, labels = stages_of(study, storage), []
    assert queue_names(storage, study.name) == ["gradual/test_resnet"]
    for top1 in (50.0, 51.0, 0.0, 0.0):
        assert stages.advance()
        job = leased(stages)
        labels.append((job.planned.label, job.keep_weights))
        finish(stages, job, top1)
    assert not stages.advance()
    assert labels == [
        ("gradual/test_resnet trial 0", False),
        ("gradual/test_resnet trial 1", False),
        ("gradual/test_resnet final 1 seed 1000", True),
        ("dense/test_resnet baseline 0 seed 1000", True),
    ]
    assert queue_names(storage, study.name) == ["gradual/test_resnet", "stage-2-0-fa5dc1d2"]
    assert [entry.number for entry in stages.finals.chosen["gradual/test_resnet"]] == [1]


def test_dense_models_come_first_and_baselines_with_the_finals() -> None:
    study, storage = compare(), InMemoryStorage()
    stages, kinds = stages_of(study, storage), []
    while stages.advance():
        job = leased(stages)
        kinds.append(job.planned.kind)
        finish(stages, job, 50.0 + len(kinds))
    assert kinds == ["baseline", "start", *["trial"] * 12, "final", *["baseline"] * 5]
    tuned = [
        f"{cell}@0.8"
        for cell in ("gradual/test_resnet", "magnitude_global/test_resnet", "magnitude_uniform/test_resnet")
    ]
    tuned += ["random/test_resnet@0.8", "smaller_dense/test_resnet@0.8", "dense_on/test_resnet"]
    assert {name for name in queue_names(storage, study.name) if not name.startswith("stage")} == set(tuned)


def test_a_stage_waits_until_the_last_job_of_the_one_before_has_ended() -> None:
    ours = stages_of(compare())
    first, second = leased(ours, "a"), leased(ours, "b")
    finish(ours, first)
    assert ours.advance()
    assert ours.open is ours.dense
    assert ours.lease("a") is None
    fail(second, "diverged")
    assert ours.open is ours.dense  # nothing but `advance` opens a stage
    assert ours.advance()
    assert ours.open is ours.trials


def test_workers_open_the_same_stages() -> None:
    study, storage = pareto(), InMemoryStorage()
    ours, theirs = stages_of(study, storage), stages_of(study, storage)
    for _ in range(2):
        finish(ours, leased(ours))
    assert ours.advance()
    assert theirs.advance()
    assert [queue.name for queue in ours.queues()] == [queue.name for queue in theirs.queues()]
    final, control = leased(ours, "a"), leased(theirs, "b")
    assert (final.lease.number, control.lease.number) == (0, 1)
    assert theirs.lease("c") is None


def test_jobs_are_announced_but_for_the_trials() -> None:
    announced = list[int]()
    stages = stages_of(compare(), expect=announced.append)
    assert announced == [2]
    while stages.advance():
        finish(stages, leased(stages))
    assert announced == [2, 6]


def test_what_has_ended_is_told_with_its_reason() -> None:
    stages = stages_of(pareto())
    fail(leased(stages), "diverged: the loss must stay finite")
    finish(stages, leased(stages))
    found = [(job.planned.number, job.finished, job.reason) for job in stages.ended()]
    assert found == [(0, False, "diverged: the loss must stay finite"), (1, True, "")]


def test_when_every_trial_fails_advancing_raises_the_reasons() -> None:
    stages = stages_of(pareto())
    for reason in ("diverged", "diverged"):
        fail(leased(stages), reason)
    with pytest.raises(BenchError, match="one finished trial at least, but all 2 failed: 2 x diverged"):
        stages.advance()


def test_a_stage_whose_opening_failed_is_opened_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = stages_of(pareto())
    for _ in range(2):
        finish(stages, leased(stages))

    def away(*args: object) -> None:
        raise ConnectionError("GRPC connection timeout")

    with monkeypatch.context() as broken:
        broken.setattr(JobQueue, "__post_init__", away)
        with pytest.raises(ConnectionError):
            stages.advance()
    assert stages.open is stages.trials
    assert stages.advance()
    assert stages.open is stages.finals
    assert leased(stages).planned.kind == "final"


def test_a_new_round_has_new_queues_but_the_same_trials() -> None:
    study, storage = pareto(), InMemoryStorage()
    first, top1 = stages_of(study, storage), 50.0
    while first.advance():
        finish(first, leased(first), top1)
        top1 += 1
    shared_study.publish(storage, study, again=True)
    second = stages_of(study, storage)
    assert second.open is second.trials
    assert second.advance()
    assert [queue.name for queue in second.queues()] == [f"{study.name}/stage-2-1-fa5dc1d2"]
    assert leased(second).planned.kind == "final"
