"""Tests mirror the tree: a file of tests has the name and the room of the module that it tests."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "reports")
OTHERS = {
    "bench/measure/test_summary": "`bench.measure.summary`, which stands in the room's own file",
    "bench/models/test_families": "one law for the architectures of all families",
    "bench/records/test_remote_home_servers": "the part of `remote_home` that needs servers",
    "bench/scheduler/engines/test_ray_cluster": "the Ray engine on a real cluster",
    "bench/scheduler/engines/test_same_results": "one study on each engine gives the same numbers",
    "bench/scheduler/engines/test_slurm_cluster": "the SLURM engine on a real cluster",
    "bench/cli/test_evaluated_classes": "evaluating a checkpoint whose classes have another order",
    "reports/statistics/test_simulations": "error, coverage and power of all verdicts",
    "reports/test_golden": "the report of the golden records",
}
UNTESTED = 75  # modules that no file of tests is named after; lower it when a file is added, never raise it


def modules(package: str) -> set[str]:
    """Modules and rooms, as paths without an end."""
    files = (p.relative_to(ROOT) for p in (ROOT / package).rglob("*.py"))
    return {str(p.parent if p.stem == "__init__" else p.with_suffix("")) for p in files}


def named_tests(package: str) -> set[str]:
    files = (ROOT / "tests" / package).rglob("test_*.py")
    return {str(p.relative_to(ROOT / "tests").with_suffix("")) for p in files}


def stands_for(test: str) -> set[str]:
    """The modules that a file of tests may stand for: one beside it in the mirrored tree, or its room."""
    path = Path(test)
    name = path.stem.removeprefix("test_")
    found = {str(path.parent / name)}
    if path.parent.name == name:
        found.add(str(path.parent))
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_each_file_of_tests_has_its_module(package: str) -> None:
    strange = {test for test in named_tests(package) if not stands_for(test) & modules(package)}
    assert not strange - set(OTHERS)


def test_modules_without_a_file_of_tests_become_fewer() -> None:
    named = {module for package in PACKAGES for test in named_tests(package) for module in stands_for(test)}
    rooms = {str(p.parent.relative_to(ROOT)) for package in PACKAGES for p in (ROOT / package).rglob("__init__.py")}
    left = sorted({module for package in PACKAGES for module in modules(package)} - rooms - named)
    print(f"{len(left)} modules without a file of tests:", *left, sep="\n")
    assert len(left) <= UNTESTED, f"name a file of tests after each new module; {len(left)} have none: {left}"
