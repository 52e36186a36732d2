"""Lists of numbered tasks on the Optuna storage that workers share: each is computed by one worker at a time, and told once.

Task k of a list is the trial of number k of an Optuna study:

    WAITING -> RUNNING      by the worker that claims it; the storage lets one pass
    RUNNING -> COMPLETE     told, once; or FAIL, with the reason
    RUNNING -> WAITING      given back by its owner, or taken from an owner that is gone

A claim is a lease. Its owner gives signs of life: Optuna's heartbeats, which the database's own clock stamps, where the storage
has them, and else a counter that the others see standing still by their own clocks. So nobody compares two machines' clocks.
Who cannot give a sign of life for as long as the lease lasts stops computing (`bench.scheduler.worker`), before
another may take over.
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

from bench.scheduler.storages import lease

OWNER, BEAT = "owner", "beat"
ENDED = (TrialState.COMPLETE, TrialState.FAIL)


def token() -> str:
    """A name for one worker that no other has: its machine, its process and its start, and a random part."""
    process = psutil.Process()
    return f"{_machine()} {process.pid} {process.create_time():.2f} {secrets.token_hex(4)}"


def _machine() -> str:
    """The machine since its start, as far as process numbers mean the same (containers have their own)."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def gone(owner: str) -> bool:
    """Whether a worker of this machine is surely dead: then nobody waits for its lease to run out."""
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
    """The right to compute one task: its number in its list, and the name of the worker that has it."""

    number: int
    trial: int
    owner: str


@dataclass
class JobQueue:
    """One list of ``total`` tasks. Methods raise whatever the storage raises while its server is away."""

    storage: BaseStorage
    name: str
    total: int
    directions: Sequence[Literal["minimize", "maximize"]] = ("maximize",)
    _seen: dict[int, tuple[Any, float]] = field(default_factory=dict)
    _over: bool = False

    def __post_init__(self) -> None:
        self.study = optuna.create_study(
            storage=self.storage, study_name=self.name, directions=list(self.directions), load_if_exists=True
        )
        self.id: int = self.study._study_id

    def trials(self) -> list[FrozenTrial]:
        """The tasks that anybody has claimed so far, by number."""
        found = self.storage.get_all_trials(self.id, deepcopy=False)
        return [trial for trial in found if trial.number < self.total]

    def ended(self) -> dict[int, FrozenTrial]:
        """The tasks that were told, by number."""
        return {trial.number: trial for trial in self.trials() if trial.state in ENDED}

    @property
    def over(self) -> bool:
        """Whether all were told."""
        self._over = self._over or len(self.ended()) >= self.total
        return self._over

    def claim(self, owner: str, end: int | None = None) -> Lease | None:
        """The lowest number below ``end`` that no worker has, for ``owner``; None where there is none now."""
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
            if trial.number >= end:  # others were faster; it waits until its turn comes
                return None
            if self._take(trial, owner):
                return Lease(trial.number, made, owner)
        return None

    def _take(self, trial: FrozenTrial, owner: str) -> bool:
        number = trial._trial_id
        with contextlib.suppress(UpdateFinishedTrialError):
            if trial.user_attrs.get(OWNER):  # the former one's name would make us look dead
                self.storage.set_trial_user_attr(number, OWNER, owner)
            if isinstance(self.storage, BaseHeartbeat):
                self.storage.record_heartbeat(number)
            if self.storage.set_trial_state_values(number, TrialState.RUNNING):
                self.storage.set_trial_user_attr(number, OWNER, owner)
                return True
        return False

    def owns(self, claim: Lease) -> bool:
        """Whether a claim still holds."""
        trial = self.storage.get_trial(claim.trial)
        return trial.state == TrialState.RUNNING and trial.user_attrs.get(OWNER) == claim.owner

    def beat(self, claim: Lease, count: int) -> bool:
        """A sign of life, the ``count``-th; False where the claim does not hold any more."""
        if not self.owns(claim):
            return False
        if isinstance(self.storage, BaseHeartbeat):
            self.storage.record_heartbeat(claim.trial)
        else:
            self.storage.set_trial_user_attr(claim.trial, BEAT, f"{claim.owner} {count}")
        return True

    def tell(self, claim: Lease, values: Sequence[float] | None, attributes: Mapping[str, Any]) -> bool:
        """What a task came to (None: it failed); False where it was told before, or is another's now."""
        if not self.owns(claim):
            return False
        with contextlib.suppress(UpdateFinishedTrialError):
            for key, value in attributes.items():
                self.storage.set_trial_user_attr(claim.trial, key, value)
            state = TrialState.FAIL if values is None else TrialState.COMPLETE
            return self.storage.set_trial_state_values(claim.trial, state, values)
        return False

    def release(self, claim: Lease) -> None:
        """Give a task back, so that another can go on with it."""
        if self.owns(claim):
            self._free(claim.trial)

    def _free(self, trial: int) -> None:
        with contextlib.suppress(UpdateFinishedTrialError):
            self.storage.set_trial_state_values(trial, TrialState.WAITING)

    def expire(self, own: str) -> list[int]:
        """Take the tasks of workers that are gone from them; returns their numbers. Call it about as often as hearts beat.

        A worker is gone if it ran on this machine and is dead, or if its lease has run out; and that must have been so for a
        while, in case the storage itself was away and the owner has not had its chance yet.
        """
        every, grace = lease()
        beating = isinstance(self.storage, BaseHeartbeat)
        running = [t for t in self.trials() if t.state == TrialState.RUNNING and t.user_attrs.get(OWNER) != own]
        stale = set(self.storage._get_stale_trial_ids(self.id)) if beating and running else set()  # type: ignore[attr-defined]
        freed, seen, now = list[int](), dict[int, tuple[Any, float]](), time.monotonic()
        for trial in running:
            owner = trial.user_attrs.get(OWNER, "")
            sign = (owner, trial._trial_id in stale if beating else trial.user_attrs.get(BEAT))
            before, since = self._seen.get(trial.number, (None, now))
            seen[trial.number] = sign, since if before == sign else now
            still = now - seen[trial.number][1]
            out = (sign[1] is True and still > 2 * every) if beating else still > grace + 2 * every
            if (owner and gone(owner)) or out:
                self._free(trial._trial_id)
                freed.append(trial.number)
        self._seen = seen
        return freed
