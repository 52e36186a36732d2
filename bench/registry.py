"""The registry: methods, studies and reports are found by name, through entry points, never through an import of ours.

An entry point names either a package, each public module of which is then one plug-in named after its file (that is how
this project's own folders `methods` and `studies` are found), or a single module, named after the entry point:

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
    """The dotted module of each plug-in of a group, by the plug-in's name; two plug-ins of one name are an error."""
    found: dict[str, str] = {}
    for point in sorted(set(entry_points(group=group)), key=lambda p: (p.name, p.value)):
        spec = importlib.util.find_spec(point.value)
        if spec is None:
            raise BenchError(f"entry point {point.name!r} of {group} names {point.value!r}, which is not installed")
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
    """The names of all plug-ins of a group, sorted."""
    return sorted(modules(group))


def module(group: str, name: str) -> str:
    """The dotted module of one plug-in, which is not imported; an unknown name is refused with the nearest valid one."""
    known = modules(group)
    if name not in known:
        raise one_of(_KINDS.get(group, group), name, known)
    return known[name]


def load(group: str, name: str) -> ModuleType:
    """The module of one plug-in, imported; an unknown name is refused with the nearest valid one."""
    return importlib.import_module(module(group, name))


def name_of(group: str, value: object) -> str:
    """The plug-in's name for a value made from a class of its module."""
    module = type(value).__module__
    for name, dotted in modules(group).items():
        if dotted == module:
            return name
    raise BenchError(f"{type(value).__name__} of module {module} is no plug-in of {group}; declare an entry point")
