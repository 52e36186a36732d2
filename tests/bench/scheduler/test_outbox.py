from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.records.home import Home
from bench.records.remote_home import RemoteHome
from bench.records.study_record import Entry
from bench.scheduler.outbox import Outbox
from tests.bench.scheduler.jobs import leased, pareto, stages_of


def entries() -> list[Entry]:
    stages = stages_of(pareto())
    return [job.planned.entry(job.planned.run, "running") for job in (leased(stages), leased(stages))]


def test_without_a_remote_home_entries_are_written_to_the_home() -> None:
    outbox = Outbox(Home(), "study")
    one, _ = entries()
    outbox.write(one)
    outbox.send()
    assert list(Home().records.entries("study")) == [one]


def test_what_the_remote_home_does_not_accept_is_sent_later_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared").mkdir()
    home = replace(Home(), remote_url=str(tmp_path / "shared"))
    outbox, sent, away = Outbox(home, "study"), list[Entry](), [True]

    def push(self: RemoteHome, study: str, entry: Entry) -> None:
        if away[0]:
            raise BenchError("the remote home does not answer")
        sent.append(entry)

    monkeypatch.setattr(RemoteHome, "push_entry", push)
    one, other = entries()
    outbox.write(one)
    outbox.send()
    outbox.write(other)
    outbox.send()
    assert sent == []
    assert len(list(home.records.entries("study"))) == 2
    away[0] = False
    outbox.send()
    outbox.send()
    assert sent == [one, other]
