"""Collects the facts of a catalogue by importing every plug-in, timm and the tasks."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from bench import models, registry, tasks
from bench.cli.facts import Catalogue, FieldFacts, MethodFacts, StudyFacts
from bench.config import Config
from bench.errors import BenchError
from bench.records.home import Home
from bench.run import Run, describe
from bench.study.space import check_space, readable


def collect() -> Catalogue:
    """Everything that is installed, as facts."""
    method = registry.load(registry.METHODS, registry.names(registry.METHODS)[0]).METHOD()
    run: Run = Run(method=method)  # any method: only the fields of the run and of its recipe are read
    data = Home().data
    return Catalogue(
        methods=methods(),
        studies=tuple(_study(name) for name in registry.names(registry.STUDIES)),
        tasks=tuple((name, tasks.info(name, data).about) for name in tasks.names()),
        models=tuple(models.names()),
        families=tuple(models.families()),
        run=_fields(run),
        recipe=_fields(run.recipe),
    )


def methods() -> tuple[MethodFacts, ...]:
    """The facts about all methods, sorted by name."""
    return tuple(method(name) for name in registry.names(registry.METHODS))


def method(name: str) -> MethodFacts:
    """The facts about one method; one that cannot be imported has an ``error`` instead."""
    module, error = _import(registry.METHODS, name)
    if module is None:
        return MethodFacts(name, error=error)
    document, cls = module.__doc__ or "", module.METHOD
    return MethodFacts(
        name,
        document,
        _standing(document, cls.reconstruction),
        cls.reconstruction,
        cls.target or "",
        _fields(cls(), module.SPACE),
        tuple(module.CLAIMS),
        problem=_problem(module),
    )


def _standing(document: str, reconstruction: str) -> str:
    if reconstruction:
        return "reconstruction"
    return "faithful" if "arXiv:" in document else "no paper"


def _problem(module: ModuleType) -> str:
    try:
        check_space(module.METHOD, module.SPACE)
    except BenchError as error:
        return str(error)
    return ""


def _study(name: str) -> StudyFacts:
    module, error = _import(registry.STUDIES, name)
    return StudyFacts(name, (module.__doc__ or "") if module else "", error)


def _import(group: str, name: str) -> tuple[ModuleType | None, str]:
    """The module of a plug-in, or None and why it cannot be imported: a broken plug-in must not hide the others."""
    try:
        return registry.load(group, name), ""
    except ImportError as error:
        return None, str(error)
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def _fields(config: Config, space: Mapping[str, Any] | None = None) -> tuple[FieldFacts, ...]:
    tuned = {name: readable(distribution) for name, distribution in (space or {}).items()}
    return tuple(
        FieldFacts(name, str(default), rule, text, tuned.get(name, ""))
        for name, default, rule, text in describe(config)
    )
