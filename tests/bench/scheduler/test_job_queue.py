"""Leases on real storages: a journal file, and a database with Optuna's heartbeats."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from bench.scheduler.job_queue import OWNER, JobQueue, Lease, is_dead, worker_name
from bench.scheduler.storages import open_storage

Opener = Callable[[], BaseStorage]


@pytest.fixture(params=["journal", "database"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """Opens the same storage anew, as another worker does; leases are short."""
    monkeypatch.setenv("BENCH_LEASE", "1")
    url = f"sqlite:///{tmp_path / 'optuna.db'}" if request.param == "database" else None
    return lambda: open_storage(url, tmp_path / "optuna.journal")


def queue(storage: BaseStorage, total: int = 3) -> JobQueue:
    return JobQueue(storage, "study/finals", total)


def leased(one: JobQueue, owner: str) -> Lease:
    found = one.lease(owner)
    assert found is not None
    return found


def test_each_job_is_leased_once_and_reported_once(opened: Opener) -> None:
    ours, theirs = queue(opened()), queue(opened())
    leases = [leased(ours, "a"), leased(theirs, "b"), leased(ours, "a")]
    assert [lease.number for lease in leases] == [0, 1, 2]
    assert ours.lease("a") is None
    assert theirs.lease("b") is None
    assert ours.tell(leases[0], [97.5], {"run": "abc"})
    assert not ours.tell(leases[0], [12.0], {})
    assert not theirs.tell(Lease(2, leases[2].trial, "b"), [1.0], {})  # not its own
    assert theirs.tell(leases[1], None, {"reason": "diverged"})
    assert ours.tell(leases[2], [1.0], {})
    ended = theirs.ended()
    assert [ended[n].values for n in range(3)] == [[97.5], None, [1.0]]
    assert (ended[0].user_attrs["run"], ended[1].user_attrs["reason"]) == ("abc", "diverged")
    assert ours.is_over()
    assert theirs.is_over()


def test_many_at_once_lease_every_job_once(tmp_path: Path) -> None:
    def work(name: str) -> list[int]:
        one, found = queue(open_storage(None, tmp_path / "optuna.journal"), 40), list[int]()
        while (lease := one.lease(name)) is not None:
            assert one.tell(lease, [0.0], {})
            found.append(lease.number)
        return found

    with ThreadPoolExecutor(4) as pool:
        numbers = [n for found in pool.map(work, "abcd") for n in found]
    assert sorted(numbers) == list(range(40))


def test_a_trial_beyond_the_end_waits_until_the_end_moves(opened: Opener) -> None:
    one = queue(opened())
    assert leased(one, "a").number == 0
    assert one.lease("b", end=1) is None
    assert one.lease("b", end=2) == Lease(1, one.trials()[1]._trial_id, "b")


def test_a_released_job_is_leased_first(opened: Opener) -> None:
    one = queue(opened())
    first, _ = leased(one, "a"), leased(one, "a")
    one.release(first)
    assert not one.owns(first)
    again = leased(one, "b")
    assert again.number == 0
    one.release(first)  # not ours any more: it changes nothing
    assert one.owns(again)


def test_a_worker_without_heartbeats_loses_its_jobs_and_learns_of_it(opened: Opener) -> None:
    ours, theirs = queue(opened()), queue(opened())
    lost, kept = leased(ours, "elsewhere 1 2 3"), leased(ours, "elsewhere 4 5 6")
    freed, until = list[int](), time.monotonic() + 20
    for count in range(100):
        assert ours.beat(kept, count)
        freed += theirs.expire("b")
        if freed or time.monotonic() > until:
            break
        time.sleep(0.5)
    assert freed == [lost.number]
    assert not ours.beat(lost, 0)
    assert leased(theirs, "b").number == lost.number
    assert not ours.tell(lost, [1.0], {})
    assert ours.beat(kept, 100)


def test_the_jobs_of_a_dead_process_of_this_machine_are_freed_at_once(opened: Opener) -> None:
    program = "from bench.scheduler.job_queue import worker_name; print(worker_name(), flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    owner = other.stdout.readline().strip()
    one = queue(opened())
    lease = leased(one, owner)
    assert not is_dead(owner)
    assert one.expire("b") == []
    other.kill()
    other.communicate()
    assert is_dead(owner)
    assert one.expire("b") == [lease.number]
    assert one.trials()[0].state == TrialState.WAITING


def test_names_are_unique_and_living_workers_are_not_dead() -> None:
    one, other = worker_name(), worker_name()
    assert one != other
    assert not is_dead(one)
    assert not is_dead("another-machine/boot/pid:[1] 1 0.00 ab")
    assert not is_dead("")


def test_a_lease_without_an_owner_expires_too(opened: Opener) -> None:
    one = queue(opened())
    lease = leased(one, "elsewhere 1 2 3")
    one.storage.set_trial_user_attr(lease.trial, OWNER, "")  # killed between the two writes of a lease
    until = time.monotonic() + 20
    while not (freed := one.expire("b")) and time.monotonic() < until:
        time.sleep(0.5)
    assert freed == [0]
