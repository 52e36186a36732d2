"""Claims and leases on real storages: a journal file, and a database with Optuna's heartbeats."""

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

from bench.scheduler.job_queue import OWNER, JobQueue, Lease, gone, token
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


def claimed(one: JobQueue, owner: str) -> Lease:
    found = one.claim(owner)
    assert found is not None
    return found


def test_each_task_is_claimed_once_and_told_once(opened: Opener) -> None:
    ours, theirs = queue(opened()), queue(opened())
    claims = [claimed(ours, "a"), claimed(theirs, "b"), claimed(ours, "a")]
    assert [claim.number for claim in claims] == [0, 1, 2]
    assert ours.claim("a") is None
    assert theirs.claim("b") is None
    assert ours.tell(claims[0], [97.5], {"run": "abc"})
    assert not ours.tell(claims[0], [12.0], {})
    assert not theirs.tell(Lease(2, claims[2].trial, "b"), [1.0], {})  # not its own
    assert theirs.tell(claims[1], None, {"reason": "diverged"})
    assert ours.tell(claims[2], [1.0], {})
    ended = theirs.ended()
    assert [ended[n].values for n in range(3)] == [[97.5], None, [1.0]]
    assert (ended[0].user_attrs["run"], ended[1].user_attrs["reason"]) == ("abc", "diverged")
    assert ours.over
    assert theirs.over


def test_many_at_once_claim_every_task_once(tmp_path: Path) -> None:
    def work(name: str) -> list[int]:
        one, found = queue(open_storage(None, tmp_path / "optuna.journal"), 40), list[int]()
        while (claim := one.claim(name)) is not None:
            assert one.tell(claim, [0.0], {})
            found.append(claim.number)
        return found

    with ThreadPoolExecutor(4) as pool:
        numbers = [n for found in pool.map(work, "abcd") for n in found]
    assert sorted(numbers) == list(range(40))


def test_what_comes_too_early_waits_for_its_turn(opened: Opener) -> None:
    one = queue(opened())
    assert claimed(one, "a").number == 0
    assert one.claim("b", end=1) is None
    assert one.claim("b", end=2) == Lease(1, one.trials()[1]._trial_id, "b")


def test_a_task_given_back_is_claimed_first(opened: Opener) -> None:
    one = queue(opened())
    first, _ = claimed(one, "a"), claimed(one, "a")
    one.release(first)
    assert not one.owns(first)
    again = claimed(one, "b")
    assert again.number == 0
    one.release(first)  # not ours any more: it changes nothing
    assert one.owns(again)


def test_a_worker_without_signs_of_life_loses_its_tasks_and_learns_of_it(opened: Opener) -> None:
    ours, theirs = queue(opened()), queue(opened())
    lost, kept = claimed(ours, "elsewhere 1 2 3"), claimed(ours, "elsewhere 4 5 6")
    freed, until = list[int](), time.monotonic() + 20
    for count in range(100):
        assert ours.beat(kept, count)
        freed += theirs.expire("b")
        if freed or time.monotonic() > until:
            break
        time.sleep(0.5)
    assert freed == [lost.number]
    assert not ours.beat(lost, 0)
    assert claimed(theirs, "b").number == lost.number
    assert not ours.tell(lost, [1.0], {})
    assert ours.beat(kept, 100)


def test_a_dead_process_of_this_machine_is_not_waited_for(opened: Opener) -> None:
    program = "from bench.scheduler.job_queue import token; print(token(), flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    owner = other.stdout.readline().strip()
    one = queue(opened())
    claim = claimed(one, owner)
    assert not gone(owner)
    assert one.expire("b") == []
    other.kill()
    other.communicate()
    assert gone(owner)
    assert one.expire("b") == [claim.number]
    assert one.trials()[0].state == TrialState.WAITING


def test_names_are_told_apart_and_the_living_are_not_gone() -> None:
    one, other = token(), token()
    assert one != other
    assert not gone(one)
    assert not gone("another-machine/boot/pid:[1] 1 0.00 ab")
    assert not gone("")


def test_a_claim_without_an_owner_is_freed_too(opened: Opener) -> None:
    one = queue(opened())
    claim = claimed(one, "elsewhere 1 2 3")
    one.storage.set_trial_user_attr(claim.trial, OWNER, "")  # killed between the two writes of a claim
    until = time.monotonic() + 20
    while not (freed := one.expire("b")) and time.monotonic() < until:
        time.sleep(0.5)
    assert freed == [0]
