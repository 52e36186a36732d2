"""The import ladder: bench <- methods <- studies, and reports on bench's record reader only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"bench", "methods", "studies", "reports"}
MAY = {
    "bench": {"bench"},
    "methods": {"bench", "methods"},
    "studies": {"bench", "methods", "studies"},
    "reports": {"bench", "reports"},
}
READERS = {"bench.records.folder", "bench.errors", "bench.claims"}


def imports(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", sorted(OURS))
def test_each_package_imports_only_below_it(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files(package)
        for line, name in imports(path)
        if name.partition(".")[0] in OURS - MAY[package]
    ]
    assert not wrong


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


ROOMS = {
    "mlflow": {"tracking.py"},
    "optuna": {"tuner.py", "storages.py", "proxy.py", "board.py", "agenda.py", "rates.py"},
}


@pytest.mark.parametrize("library", sorted(ROOMS))
def test_few_rooms_import_each_service(library: str) -> None:
    users = {p.name for p in files("bench") for _, name in imports(p) if name.partition(".")[0] == library}
    assert users
    assert users <= ROOMS[library]


def test_no_unaddressed_randomness() -> None:
    """Torch's samplers in `methods` and `bench` are given a generator; fork_rng and manual_seed are the loop's."""
    samplers = {"rand", "randn", "randint", "randperm", "bernoulli", "multinomial", "rand_like", "randn_like", "normal"}
    wrong = []
    for path in [*files("methods"), *files("bench")]:
        for node in ast.walk(ast.parse(path.read_text())):
            call = node.func if isinstance(node, ast.Call) else None
            if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and call.value.id == "torch":
                given = {k.arg for k in node.keywords}  # type: ignore[union-attr]
                if call.attr in samplers and "generator" not in given:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} torch.{call.attr}")  # type: ignore[union-attr]
    assert not wrong
