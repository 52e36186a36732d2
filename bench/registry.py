"""The registry: finds methods, studies and reports by name, through entry points. Nothing here imports one by itself.

An entry point names a package, or a single module. Each public module of a package is a plug-in that is named after its file:
so this project's own folders `methods` and `studies` are found. A single module is named after the entry point:

    [project.entry-points."bench.methods"]
    mine = "my_package.mine"

"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType

from bench.errors import BenchError, one_of

METHODS, STUDIES, REPORTS = "bench.methods", "bench.studies", "bench.reports"
_KINDS = {METHODS: "method", STUDIES: "study", REPORTS: "report"}


@cache
def modules(group: str) -> dict[str, str]:
    """Returns the dotted module of each plug-in of a group, by the plug-in's name.

    Raises:
        BenchError: two plug-ins have one name, one is not installed, or there is none.
    """
    found: dict[str, str] = {}
    for point in sorted(set(entry_points(group=group)), key=lambda p: (p.name, p.value)):
        spec = importlib.util.find_spec(point.value)
        if spec is None:
            raise BenchError(
                f"entry point {point.name!r} of {group} names {point.value!r}, which is not installed; install it again"
            )
        names = {point.name: point.value}
        if spec.submodule_search_locations is not None:
            files = pkgutil.iter_modules(spec.submodule_search_locations)
            names = {m.name: f"{point.value}.{m.name}" for m in files if not m.name.startswith("_")}
        for name, module in names.items():
            if found.setdefault(name, module) != module:
                raise BenchError(f"two plug-ins of {group} are named {name!r}: {found[name]} and {module}; rename one")
    if not found:
        raise BenchError(f"no plug-ins of {group} are installed; run `make install` (or `pip install -e .`) once")
    return found


def names(group: str) -> list[str]:
    """Returns the names of all plug-ins of a group, sorted."""
    return sorted(modules(group))


def module(group: str, name: str) -> str:
    """Returns the dotted module of one plug-in, without importing it.

    Raises:
        BenchError: there is no plug-in of this name; the message has the nearest valid one.
    """
    known = modules(group)
    if name not in known:
        raise one_of(_KINDS.get(group, group), name, known)
    return known[name]


def load(group: str, name: str) -> ModuleType:
    """Imports the module of one plug-in and returns it; raises as `module` does."""
    return importlib.import_module(module(group, name))


def name_of(group: str, value: object) -> str:
    """Returns the name of the plug-in whose module defines the class of ``value``.

    Raises:
        BenchError: no plug-in of the group does.
    """
    module = type(value).__module__
    for name, dotted in modules(group).items():
        if dotted == module:
            return name
    raise BenchError(f"{type(value).__name__} of module {module} is no plug-in of {group}; declare an entry point")
