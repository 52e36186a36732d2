"""The catalogue of what is installed, kept in a file, so that commands that only print need not import torch.

The file lies in `$BENCH_CACHE` (default: ~/.cache/prunebench). Its key is a digest of the source files of this package and of
all plug-ins, of the versions of the packages that say something in it, and of the folders that pip installs into. A
catalogue with another key is collected again (`bench.cli.collecting`), which takes as long as importing torch and timm. A
folder that cannot be written is no error: the catalogue is then collected by every command that needs it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from bench import registry
from bench.cli.facts import Catalogue
from bench.cli.terminal import errors
from bench.config import owner
from bench.environment import versions
from bench.errors import BenchError, one_of
from bench.records.files import write_text
from bench.records.home import Home

SCHEMA = 1


def catalogue() -> Catalogue:
    """The catalogue of what is installed now: the stored one, or a new one, which is then stored if possible."""
    found = stored()
    return build() if found is None else found


def build() -> Catalogue:
    """Collect the catalogue and store it; says so on stderr, as it takes seconds."""
    errors.print(
        "collecting facts about methods, studies, tasks and models (once after each change) ...", soft_wrap=True
    )
    from bench.cli import collecting  # here, because torch and timm take seconds to import

    found = collecting.collect()
    with contextlib.suppress(OSError):  # a read-only folder costs time, not correctness
        write_text(path(), json.dumps({"key": key(), "catalogue": found.to_dict()}))
    return found


def stored() -> Catalogue | None:
    """The stored catalogue; None if there is none, or if something changed since."""
    try:
        content = json.loads(path().read_text(encoding="utf-8"))
        if content["key"] != key():
            return None
        return Catalogue.from_dict(content["catalogue"])
    except (OSError, ValueError, KeyError, TypeError):  # not there, cut off, or not ours
        return None


def path() -> Path:
    """The catalogue's file; each installation of the suite has its own."""
    given = os.environ.get("BENCH_CACHE")
    folder = Path(given).expanduser() if given else _user_cache() / "prunebench"
    installation = hashlib.sha256(f"{sys.prefix} {__file__}".encode()).hexdigest()
    return folder / f"catalogue-{installation[:12]}.json"


def _user_cache() -> Path:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:  # a user without a home folder
        return Home().path / "cache"


def key() -> str:
    """A digest of everything that the facts depend on."""
    told = hashlib.sha256(f"{SCHEMA} {sys.version} {sorted(versions().items())}".encode())
    for folder in sys.path:  # an installed or removed package can make a plug-in usable or not
        if folder.endswith("-packages") and Path(folder).is_dir():
            told.update(f"{folder} {Path(folder).stat().st_mtime_ns}".encode())
    for file in _sources():
        told.update(str(file).encode())
        told.update(file.read_bytes())
    return told.hexdigest()


def _sources() -> Iterator[Path]:
    """The source files of this package and of all packages that have plug-ins."""
    modules = [name for group in (registry.METHODS, registry.STUDIES) for name in registry.modules(group).values()]
    for package in sorted({"bench", *(name.partition(".")[0] for name in modules)}):
        spec = find_spec(package)
        if spec is None:
            continue
        if spec.submodule_search_locations is not None:
            for folder in spec.submodule_search_locations:
                yield from sorted(Path(folder).rglob("*.py"))
        elif spec.origin is not None:
            yield Path(spec.origin)


def check_settings(method: str, settings: Iterable[str]) -> None:
    """Refuse settings with an unknown key, or an unknown task, where a stored catalogue knows better without torch.

    Raises:
        BenchError: as `bench.run.Run.with_values` raises it later.
    """
    found = stored()
    facts = found.method(method) if found is not None else None
    if found is None or facts is None or facts.error:
        return
    keys, tasks = found.setting_keys(facts), list[str]()
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise BenchError(f"settings are written key=value, but got {setting!r}")
        if owner(name, keys) == ("run", "task"):
            tasks.append(value)
    for task in tasks:
        _check_task(found, task)


def check_task(task: str) -> None:
    """Refuse an unknown task where a stored catalogue knows the tasks; "" is no task.

    Raises:
        BenchError: as `bench.tasks.info` raises it later.
    """
    found = stored() if task else None
    if found is not None:
        _check_task(found, task)


def _check_task(found: Catalogue, task: str) -> None:
    names = [name for name, _ in found.tasks]
    if ":" not in task and task not in names:
        raise one_of("task", task, [*names, "folder:PATH"])
