"""Queues of numbered jobs on the Optuna storage that workers share: one worker computes a job at a time, and reports it once.

Job k of a queue is the trial with number k of an Optuna study:

    WAITING -> RUNNING      a worker leases it; the storage lets only one succeed
    RUNNING -> COMPLETE     reported, once; or FAIL, with the reason
    RUNNING -> WAITING      released by its owner, or taken from an owner that is dead or silent

The owner of a lease sends heartbeats: Optuna's, which the database stamps with its own clock, where the storage has them;
otherwise a counter, and other workers measure with their own clocks how long it has not changed. So the clocks of two machines
are never compared. A worker whose heartbeats fail for as long as the lease lasts stops its runs (`bench.scheduler.heartbeat`)
before another worker may take its jobs.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.trial import FrozenTrial, TrialState, create_trial

from bench.scheduler.storages import lease_times

OWNER, BEAT = "owner", "beat"  # attributes of a trial on the storage
ENDED = (TrialState.COMPLETE, TrialState.FAIL)


def worker_name() -> str:
    """A unique name for a worker: its machine, process number, start of the process, and a random part."""
    process = psutil.Process()
    return f"{_machine()} {process.pid} {process.create_time():.2f} {secrets.token_hex(4)}"


def _machine() -> str:
    """The machine, its last boot and the process namespace: within these a process number means one process."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def is_dead(owner: str) -> bool:
    """Whether the process of a worker on this machine has ended. False for workers of other machines."""
    machine, _, rest = owner.partition(" ")
    parts = rest.split()
    if machine != _machine() or len(parts) != 3:
        return False
    with contextlib.suppress(psutil.Error, ValueError):
        process = psutil.Process(int(parts[0]))
        return f"{process.create_time():.2f}" != parts[1] or process.status() == psutil.STATUS_ZOMBIE
    return True


@dataclass(frozen=True)
class Lease:
    """The right to compute one job: its number in its queue, its trial's id on the storage, and the worker's name."""

    number: int
    trial: int
    owner: str


@dataclass(frozen=True)
class _Sign:
    """What is known of a running trial's owner, and since when (monotonic seconds) it has not changed."""

    owner: str
    heartbeat: Any  # the counter; where the storage has heartbeats: whether the last one is stale
    since: float


@dataclass
class JobQueue:
    """A queue of ``total`` jobs. Jobs with higher numbers, which a study with more trials had, are ignored."""

    storage: BaseStorage
    name: str
    total: int
    directions: Sequence[Literal["minimize", "maximize"]] = ("maximize",)
    _signs: dict[int, _Sign] = field(default_factory=dict)
    _over: bool = False

    def __post_init__(self) -> None:
        self.study = optuna.create_study(
            storage=self.storage, study_name=self.name, directions=list(self.directions), load_if_exists=True
        )
        self.id: int = self.study._study_id

    def trials(self) -> list[FrozenTrial]:
        """The trials of all jobs that were leased so far, by number."""
        found = self.storage.get_all_trials(self.id, deepcopy=False)
        return [trial for trial in found if trial.number < self.total]

    def ended(self) -> dict[int, FrozenTrial]:
        """The trials of the jobs that were reported, by number."""
        return {trial.number: trial for trial in self.trials() if trial.state in ENDED}

    def is_over(self) -> bool:
        """Whether all jobs were reported."""
        if not self._over:
            self._over = len(self.ended()) >= self.total
        return self._over

    def lease(self, owner: str, end: int | None = None) -> Lease | None:
        """Lease the free job with the lowest number below ``end`` to ``owner``; returns None if no job is free."""
        if self._over:
            return None
        end = self.total if end is None else min(end, self.total)
        known = self.trials()
        for trial in known:
            if trial.number < end and trial.state == TrialState.WAITING and self._take(trial, owner):
                return Lease(trial.number, trial._trial_id, owner)
        for _ in range(len(known), end):
            made = self.storage.create_new_trial(self.id, create_trial(state=TrialState.WAITING))
            trial = self.storage.get_trial(made)
            if trial.number >= end:  # other workers made trials meanwhile; this one stays for later
                return None
            if self._take(trial, owner):
                return Lease(trial.number, made, owner)
        return None

    def _take(self, trial: FrozenTrial, owner: str) -> bool:
        number = trial._trial_id
        with contextlib.suppress(UpdateFinishedTrialError):
            if trial.user_attrs.get(OWNER):  # a dead former owner's name would make others free the job at once
                self.storage.set_trial_user_attr(number, OWNER, owner)
            if isinstance(self.storage, BaseHeartbeat):
                self.storage.record_heartbeat(number)
            if self.storage.set_trial_state_values(number, TrialState.RUNNING):
                self.storage.set_trial_user_attr(number, OWNER, owner)
                return True
        return False

    def owns(self, lease: Lease) -> bool:
        """Whether a lease is still valid."""
        trial = self.storage.get_trial(lease.trial)
        return trial.state == TrialState.RUNNING and trial.user_attrs.get(OWNER) == lease.owner

    def beat(self, lease: Lease, count: int) -> bool:
        """Send the heartbeat with number ``count``; returns False if the lease is no longer valid."""
        if not self.owns(lease):
            return False
        if isinstance(self.storage, BaseHeartbeat):
            self.storage.record_heartbeat(lease.trial)
        else:
            self.storage.set_trial_user_attr(lease.trial, BEAT, f"{lease.owner} {count}")
        return True

    def tell(self, lease: Lease, values: Sequence[float] | None, attributes: Mapping[str, Any]) -> bool:
        """Report a job's values (None: it failed); returns False if the lease is no longer valid."""
        if not self.owns(lease):
            return False
        with contextlib.suppress(UpdateFinishedTrialError):
            for key, value in attributes.items():
                self.storage.set_trial_user_attr(lease.trial, key, value)
            state = TrialState.FAIL if values is None else TrialState.COMPLETE
            return self.storage.set_trial_state_values(lease.trial, state, values)
        return False

    def release(self, lease: Lease) -> None:
        """Give a job back to the queue, if the lease is still valid."""
        if self.owns(lease):
            self._free(lease.trial)

    def _free(self, trial: int) -> None:
        with contextlib.suppress(UpdateFinishedTrialError):
            self.storage.set_trial_state_values(trial, TrialState.WAITING)

    def expire(self, own: str) -> list[int]:
        """Free the jobs of dead or silent workers other than ``own``; returns their numbers. Call it once per heartbeat.

        A worker of this machine is dead if its process has ended. Any other is silent if its lease has expired, and that was
        seen for two heartbeats: if the storage itself was away, its owner must first get the chance to send one.
        """
        times = lease_times()
        beating = isinstance(self.storage, BaseHeartbeat)
        patience = 2 * times.heartbeat
        if not beating:  # then nothing but standing still shows that a lease has expired
            patience += times.expiry
        running = [t for t in self.trials() if t.state == TrialState.RUNNING and t.user_attrs.get(OWNER) != own]
        stale = set[int]()
        if beating and running:
            stale = set(self.storage._get_stale_trial_ids(self.id))  # type: ignore[attr-defined]
        freed, signs, now = list[int](), dict[int, _Sign](), time.monotonic()
        for trial in running:
            sign = self._sign(trial, trial._trial_id in stale if beating else trial.user_attrs.get(BEAT), now)
            signs[trial.number] = sign
            silent = now - sign.since > patience
            if beating:
                silent = silent and trial._trial_id in stale
            if silent or (sign.owner and is_dead(sign.owner)):
                self._free(trial._trial_id)
                freed.append(trial.number)
        self._signs = signs
        return freed

    def _sign(self, trial: FrozenTrial, heartbeat: Any, now: float) -> _Sign:
        owner = trial.user_attrs.get(OWNER, "")
        before = self._signs.get(trial.number)
        if before is not None and (before.owner, before.heartbeat) == (owner, heartbeat):
            return before
        return _Sign(owner, heartbeat, now)
