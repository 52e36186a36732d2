from __future__ import annotations

import optuna
import pytest
from optuna.storages import InMemoryStorage

from bench.errors import BenchError, MissingData
from bench.scheduler import shared_study
from tests.bench.scheduler.jobs import compare, pareto


@pytest.mark.parametrize("make", [pareto, compare])
def test_a_worker_finds_the_study_that_was_published(make) -> None:
    study, storage = make(), InMemoryStorage()
    shared_study.publish(storage, study)
    found = shared_study.find(storage, study.name)
    assert found.to_dict() == study.to_dict()
    assert found.name == study.name


def test_a_study_that_was_not_begun_is_refused_with_those_that_were() -> None:
    study, storage = pareto(), InMemoryStorage()
    shared_study.publish(storage, study)
    with pytest.raises(MissingData, match=f"a study that was begun.*begun here: {study.name}"):
        shared_study.find(storage, "other")


def test_another_protocol_is_refused() -> None:
    study, storage = pareto(), InMemoryStorage()
    shared_study.publish(storage, study)
    optuna.load_study(study_name=study.name, storage=storage).set_user_attr(shared_study.VERSION, "0")
    with pytest.raises(BenchError, match="need the same protocol"):
        shared_study.find(storage, study.name)


def test_rounds_are_counted() -> None:
    study, storage = pareto(), InMemoryStorage()
    assert shared_study.current_round(storage, study.name) == 0
    shared_study.publish(storage, study)
    assert shared_study.current_round(storage, study.name) == 0
    shared_study.publish(storage, study, again=True)
    assert shared_study.current_round(storage, study.name) == 1
