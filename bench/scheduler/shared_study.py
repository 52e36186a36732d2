"""The declaration of a study on the storage that its workers share."""

from __future__ import annotations

import optuna
from optuna.storages import BaseStorage

from bench.errors import BenchError, MissingData
from bench.records.protocol import PROTOCOL
from bench.study.study import Study

DECLARATION, ROUND, VERSION = "study", "round", "protocol"  # attributes of an Optuna study that has the study's name


def publish(storage: BaseStorage, study: Study, *, again: bool = False) -> None:
    """Write a study where its workers find it. ``again`` begins a new round, in which failed and lost runs are tried again."""
    root = _root(storage, study.name)
    before = root.user_attrs
    for key, value in ((DECLARATION, study.to_dict()), (VERSION, PROTOCOL)):
        if before.get(key) != value:
            root.set_user_attr(key, value)
    if again:
        root.set_user_attr(ROUND, int(before.get(ROUND, 0)) + 1)


def find(storage: BaseStorage, name: str) -> Study:
    """Read a study by its name.

    Raises:
        MissingData: no such study was published on this storage.
        BenchError: it was published with another version of the protocol.
    """
    found = sorted(s.study_name for s in storage.get_all_studies() if DECLARATION in s.user_attrs)
    if name not in found:
        shown = ", ".join(found) or "none"
        raise MissingData(
            f"a worker needs a study that was begun, but the storage has no {name!r}; begin it with `bench study`, or use the "
            f"same BENCH_HOME and BENCH_OPTUNA as there; begun here: {shown}"
        )
    attributes = _root(storage, name).user_attrs
    if attributes.get(VERSION) != PROTOCOL:
        raise BenchError(
            f"workers of a study need the same protocol, but {name} was begun with {attributes.get(VERSION)}, and this is "
            f"{PROTOCOL}; install the same version of the suite"
        )
    return Study.from_dict(attributes[DECLARATION])


def current_round(storage: BaseStorage, name: str) -> int:
    """How often a new round was begun; the number is part of the queues' names."""
    return int(_root(storage, name).user_attrs.get(ROUND, 0))


def _root(storage: BaseStorage, name: str) -> optuna.Study:
    return optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
