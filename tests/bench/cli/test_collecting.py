"""The facts that plug-ins give about themselves."""

from __future__ import annotations

import pytest

from bench import models, registry, tasks
from bench.cli import collecting
from bench.cli.facts import Catalogue
from bench.errors import BenchError
from bench.run import new_run


def test_standing() -> None:
    standing = {method.name: method.standing for method in collecting.methods()}
    assert standing["dense"] == "no paper"
    assert standing["sap"] == "faithful"
    assert standing["drop"] == "reconstruction"
    assert sorted(standing) == registry.names(registry.METHODS)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ImportError("No module named 'torch_pruning'"), "No module named 'torch_pruning'"),
        (SyntaxError("bad"), "SyntaxError: bad"),
    ],
)
def test_a_method_that_cannot_be_imported_says_so(error: Exception, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(group: str, name: str) -> None:
        raise error

    monkeypatch.setattr(registry, "load", broken)
    found = collecting.method("gradual")
    assert found.error == told
    assert found.about == f"not usable here: {told}"


def test_a_space_that_is_wrong_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BenchError("defaults must lie inside SPACE")

    monkeypatch.setattr(collecting, "check_space", refuse)
    assert collecting.method("gradual").problem == "defaults must lie inside SPACE"


def test_a_catalogue_survives_json() -> None:
    found = collecting.collect()
    assert Catalogue.from_dict(found.to_dict()) == found
    assert list(found.models) == models.names()
    assert [name for name, _ in found.tasks] == tasks.names()
    assert [study.name for study in found.studies] == registry.names(registry.STUDIES)


@pytest.mark.parametrize("name", registry.names(registry.METHODS))
def test_the_catalogue_knows_every_key_that_a_run_can_set(name: str) -> None:
    found = collecting.collect()
    method = found.method(name)
    assert method is not None
    assert found.setting_keys(method) == new_run(name).keys()
