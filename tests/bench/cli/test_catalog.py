"""The stored catalogue: when it is used, when it is collected again, and what is refused from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import registry
from bench.cli import catalog, collecting
from bench.cli.facts import Catalogue
from bench.errors import BenchError

EMPTY = Catalogue((), (), (("digits", "handwritten"),), ("resnet18",), (), (), ())


@pytest.fixture
def collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A cache folder of its own, and a list that grows when a catalogue is collected."""
    calls = list[int]()

    def collect() -> Catalogue:
        calls.append(1)
        return EMPTY

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(collecting, "collect", collect)
    return calls


def test_a_catalogue_is_collected_once(collected: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    assert catalog.stored() is None
    assert catalog.catalogue() == EMPTY
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert "collecting facts" in err
    assert catalog.catalogue() == EMPTY
    assert capsys.readouterr() == ("", "")
    assert len(collected) == 1


def test_a_changed_source_file_makes_it_stale(
    collected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "mine.py"
    source.write_text('"""Before."""\n')
    monkeypatch.setattr(catalog, "_sources", lambda: [source])
    catalog.catalogue()
    assert catalog.stored() is not None
    source.write_text('"""After."""\n')
    assert catalog.stored() is None
    catalog.catalogue()
    assert len(collected) == 2


def test_another_version_of_timm_makes_it_stale(collected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    catalog.catalogue()
    monkeypatch.setattr(catalog, "versions", lambda: {"timm": "9.9.9"})
    assert catalog.stored() is None


def test_the_key_covers_every_plug_in_and_this_package() -> None:
    names = {file.name for file in catalog._sources()}
    modules = [*registry.modules(registry.METHODS).values(), *registry.modules(registry.STUDIES).values()]
    assert {f"{module.rpartition('.')[2]}.py" for module in modules} <= names
    assert {"recipe.py", "catalog.py"} <= names  # of the tasks too


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": 1}', '{"key": "KEY", "catalogue": {"methods": 3}}'])
def test_a_file_that_is_no_catalogue_is_replaced(content: str, collected: list[int]) -> None:
    catalog.path().parent.mkdir(parents=True)
    catalog.path().write_text(content.replace("KEY", catalog.key()))
    assert catalog.catalogue() == EMPTY
    assert json.loads(catalog.path().read_text())["key"] == catalog.key()


def test_a_folder_that_cannot_be_written_is_no_error(
    collected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file" / "cache"))
    assert catalog.catalogue() == EMPTY
    assert catalog.catalogue() == EMPTY
    assert len(collected) == 2


def test_a_user_without_a_home_folder_has_a_cache(monkeypatch: pytest.MonkeyPatch, own_place: Path) -> None:
    def homeless(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("BENCH_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    monkeypatch.setattr(catalog, "Home", lambda: type("Home", (), {"path": own_place}))
    assert catalog.path().is_relative_to(own_place)


def test_what_is_unknown_is_refused_from_the_catalogue() -> None:
    catalog.catalogue()
    with pytest.raises(BenchError, match="did you mean 'final'"):
        catalog.check_settings("gradual", ["finl=0.5"])
    with pytest.raises(BenchError, match="`bench show run` and `bench show METHOD`"):
        catalog.check_settings("gradual", ["nosuchthing=0.5"])
    with pytest.raises(BenchError, match="settings are written key=value"):
        catalog.check_settings("gradual", ["final"])
    for check in (lambda: catalog.check_settings("gradual", ["task=digit"]), lambda: catalog.check_task("digit")):
        with pytest.raises(BenchError, match="did you mean 'digits'"):
            check()
    catalog.check_settings("gradual", ["final=0.5", "recipe.lr=0.1", "task=folder:/nowhere", "method.end=1"])
    catalog.check_task("")


def test_without_a_catalogue_nothing_is_refused(collected: list[int]) -> None:
    catalog.check_settings("gradual", ["nosuchthing=0.5"])
    catalog.check_task("digit")
    assert not collected


HEAVY = ("torch", "timm", "mlflow", "pandas", "scipy", "optuna", "numpy", "sklearn", "matplotlib")


PRINTING = [
    (["--help"], 0),
    (["--version"], 0),
    *([[command, "--help"], 0] for command in ("run", "study", "compare", "work", "report", "speed", "servers")),
    (["list"], 0),
    (["list", "models", "cifar*"], 0),
    (["list", "tasks"], 0),
    (["list", "studies"], 0),
    (["show", "sap"], 0),
    (["show", "run"], 0),
    (["doctor"], 0),
    (["rnu"], 2),
    (["run", "gradul"], 1),
    (["run", "gradual", "finl=0.5"], 1),
    (["study", "gradual", "--task", "digit"], 1),
    (["show", "sapp"], 1),
    (["list", "begun"], 1),
]
FORKING = """
import json, os, sys
from bench.cli import main

for words in json.loads(sys.argv[1]):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        continue
    sys.argv = ["bench", *words]
    try:
        main.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    print("IMPORTED", code, [name for name in HEAVY if name in sys.modules], flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def imported() -> list[str]:
    """Of each command that prints its exit code and the heavy imports; one interpreter starts, and forks for each."""
    catalog.catalogue()
    words = [sys.executable, "-c", FORKING.replace("HEAVY", repr(HEAVY)), json.dumps([words for words, _ in PRINTING])]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("IMPORTED ")]
    assert len(lines) == len(PRINTING), done.stderr
    return lines


@pytest.mark.parametrize("place", range(len(PRINTING)), ids=[" ".join(words) for words, _ in PRINTING])
def test_commands_that_only_print_import_little(imported: list[str], place: int) -> None:
    assert imported[place] == f"IMPORTED {PRINTING[place][1]} []"
