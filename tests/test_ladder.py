"""The import ladder: between the packages, between the rooms of a package, and between modules. What is imported
late counts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "bench": {"bench"},
    "methods": {"bench", "methods"},
    "studies": {"bench", "methods", "studies"},
    "reports": {"bench", "reports"},
}
"""What each package may import."""

ROOMS = {
    "bench": (
        *("", "records", "tasks", "models", "measure", "channels", "training", "study", "scheduler"),
        *("tracking", "deploy", "cli", "perf"),
    ),
    "reports": ("load", "statistics", "tables", "figures", "card", "page", ""),
}
"""The rooms of a package, from the ground up; "" are the modules at its top. A room imports from itself and from below."""

FACES = {"bench", "bench.__main__"}
"""What hands on names from above: `bench.load`, and `python -m bench`."""

READERS = ("bench.records", "bench.errors", "bench.claims")
"""All that reports may import of the instrument."""


@cache
def nodes(path: Path) -> list[ast.AST]:
    """All nodes of a file's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text())))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """The line and the dotted name of everything that a file imports, wherever in it."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for package in PACKAGES for path in files(package)}


def imported(name: str) -> str | None:
    """The module of ours that an imported name is, or is in."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def room(name: str) -> str:
    """The room of a module; "" at the top of its package."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and MODULES[".".join(parts[:2])].name == "__init__.py" else ""


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_each_package_imports_only_below_it(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files(package)
        for line, name in imports(path)
        if name.partition(".")[0] in PACKAGES.keys() - PACKAGES[package]
    ]
    assert not wrong


@pytest.mark.parametrize("package", sorted(ROOMS))
def test_each_room_imports_only_below_it(package: str) -> None:
    floors = {name: floor for floor, name in enumerate(ROOMS[package])}
    wrong = []
    for path in files(package):
        if (here := module(path)) in FACES:
            continue
        for line, name in imports(path):
            there = imported(name)
            if there and there.partition(".")[0] == package and floors[room(there)] > floors[room(here)]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong


def test_no_method_imports_another() -> None:
    """Methods share code through `bench` and through modules whose names begin with an underscore."""
    public = {name for name in MODULES if name.startswith("methods.") and not name.startswith("methods._")}
    wrong = [
        f"{MODULES[here].relative_to(ROOT)}:{line} imports {name}"
        for here in public
        for line, name in imports(MODULES[here])
        if imported(name) in public - {here}
    ]
    assert public
    assert not wrong


@pytest.mark.parametrize("package", sorted(ROOMS))
def test_every_room_has_its_floor(package: str) -> None:
    assert {room(name) for name in MODULES if name.partition(".")[0] == package} == set(ROOMS[package])


def test_the_top_of_bench_is_what_authors_import() -> None:
    assert len(list((ROOT / "bench").glob("*.py"))) <= 14


def test_no_modules_import_each_other_in_a_circle() -> None:
    below = {name: set[str]() for name in MODULES}
    for name, path in MODULES.items():
        if name not in FACES:
            below[name] = {there for _, imp in imports(path) if (there := imported(imp)) and there != name}
    while leaves := {name for name, others in below.items() if not others}:
        below = {name: others - leaves for name, others in below.items() if name not in leaves}
    assert not below, "these import each other, or what does"


def test_reports_read_records_and_train_nothing() -> None:
    banned = {"torch", "timm", "optuna", "mlflow", "torchvision"}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files("reports")
        for line, name in imports(path)
        if name.partition(".")[0] in banned
        or (name.startswith("bench.") and not any(name == r or name.startswith(r + ".") for r in READERS))
    ]
    assert not wrong


SERVICES = {"mlflow": {"tracking"}, "optuna": {"study", "scheduler", "perf"}}


@pytest.mark.parametrize("library", sorted(SERVICES))
def test_few_rooms_import_each_service(library: str) -> None:
    users = {room(module(p)) for p in files("bench") for _, name in imports(p) if name.partition(".")[0] == library}
    assert users
    assert users <= SERVICES[library]


def test_no_unaddressed_randomness() -> None:
    """Torch's samplers in `methods` and `bench` are given a generator; fork_rng and manual_seed are the loop's."""
    samplers = {"rand", "randn", "randint", "randperm", "bernoulli", "multinomial", "rand_like", "randn_like", "normal"}
    wrong = []
    for path in [*files("methods"), *files("bench")]:
        for node in nodes(path):
            call = node.func if isinstance(node, ast.Call) else None
            if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and call.value.id == "torch":
                given = {k.arg for k in node.keywords}  # type: ignore[union-attr]
                if call.attr in samplers and "generator" not in given:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} torch.{call.attr}")  # type: ignore[union-attr]
    assert not wrong
