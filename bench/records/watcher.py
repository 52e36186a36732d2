"""Finds the entries of a study that were written since the last look, and those that have not ended.

A view in MLflow is updated every few seconds, for days: entries that ended long ago are not read again each time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.errors import MissingData
from bench.records import reading
from bench.records.files import read_json
from bench.records.folder import Folder
from bench.records.run_record import RUNNING, RunSpec
from bench.records.study_record import LOOSE_RUN, Entry

LOOSE = "runs"  # the name under which runs of no study are shown
Stamp = tuple[int, int, int]


@dataclass
class EntryWatcher:
    """Reads the entries of one study, or the runs of no study (`LOOSE`), repeatedly.

    ``names`` maps the names of all entries at the last look to the ids of their runs.
    """

    records: Folder
    study: str
    names: dict[str, str] = field(default_factory=dict)
    _stamps: dict[str, Stamp] = field(default_factory=dict)
    _entries: dict[str, str] = field(default_factory=dict)  # by file: the entry's name
    _open: dict[str, Entry] = field(default_factory=dict)
    _listed: dict[str, EntryWatcher] = field(default_factory=dict)  # of other studies, where we look for runs of none
    _folder: tuple[Stamp | None, bool] = (None, False)

    def look(self, *, closely: bool = False) -> list[Entry]:
        """The entries that were written since the last look, and all that have not ended, sorted by name.

        A file counts as written when its time, inode or size differs (entries are replaced as a whole, so a new one has
        another inode). If the folder itself was unchanged at the last two looks, no file is checked, unless ``closely``.
        """
        self._folder = (None, False) if closely else self._folder
        fresh = dict[str, Entry]()
        for file, entry in self._loose() if self.study == LOOSE else self._written():
            name = self._entries[file] = entry.name
            self.names[name] = entry.run
            fresh[name] = entry
        found = {**self._open, **fresh}
        self._open = {name: entry for name, entry in found.items() if not entry.ended}
        return [found[name] for name in sorted(found)]

    def _written(self) -> Iterator[tuple[str, Entry]]:
        folder = self.records.path / "studies" / self.study / "entries"
        now, same = _stamp(folder), self._folder[0]
        if now is None or self._folder == (now, True):
            return
        with os.scandir(folder) as files:
            stamps = {file.name: _stamp(file) for file in files if _is_entry(file.name)}
        yield from self._news({name: stamp for name, stamp in stamps.items() if stamp}, folder)
        self._folder = now, now == same  # twice, as the time stamps of file systems are coarse

    def _news(self, stamps: dict[str, Stamp], folder: Path) -> Iterator[tuple[str, Entry]]:
        for file in self._stamps.keys() - stamps.keys():
            del self._stamps[file]
            name = self._entries.pop(file, "")
            self.names.pop(name, None)
            self._open.pop(name, None)
        for file in sorted(stamps):
            if self._stamps.get(file) != stamps[file]:
                with contextlib.suppress(MissingData):  # dropped just now
                    yield file, reading.read(Entry, folder / file)
                    self._stamps[file] = stamps[file]

    def _loose(self) -> Iterator[tuple[str, Entry]]:
        """Runs that no study lists (made by `bench run`), as entries."""
        for study in self.records.studies():
            watcher = self._listed.setdefault(study, EntryWatcher(self.records, study))
            watcher.look()
        listed = {run for watcher in self._listed.values() for run in watcher.names.values()}
        for run in self.records.run_ids():
            record = _stamp(self.records.run(run) / "record.json") or (0, 0, 0)
            if run in listed or (run in self._stamps and self._stamps[run] == record):
                continue
            if (entry := _loose_entry(self.records, run)) is not None:
                yield run, entry
                self._stamps[run] = record


def _is_entry(name: str) -> bool:
    """Whether a file is an entry: macOS leaves "._*.json" beside, and writing begins with a hidden file."""
    return name.endswith(".json") and not name.startswith(".")


def _stamp(path: Path | os.DirEntry[str]) -> Stamp | None:
    """Time, inode and size of a file, which differ once it is replaced; None if it does not exist."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _loose_entry(records: Folder, run_id: str) -> Entry | None:
    path = records.run(run_id) / "run.json"
    if not path.exists():
        return None
    run, record = RunSpec.from_json(read_json(path)["run"]), records.record(run_id)
    cell = f"{run.method_name}/{run.model}/{run_id}"
    entry = Entry(LOOSE_RUN, cell, 0, run.seed or 0, run_id, state=RUNNING)
    if record is None:
        return entry
    return replace(entry, state=record.status, reason=record.reason)
