"""Workers as a job array on SLURM, submitted through submitit.

Before the time limit, and when it is preempted, a job gets a signal (USR2): its worker has its runs write their checkpoints,
gives its claims back, and asks SLURM to queue the job again. What SLURM takes away without a word, `tend` submits again.

submitit pickles what a job is to do into a folder, <home>/studies/<name>/slurm, which only its owner can enter and which is no
part of the record store: nothing loads a pickle from a shared store. The pickle holds an `Order` and no password: the
environment, with the servers' addresses, is what sbatch passes on. squeue and scontrol are asked how jobs are, so a cluster
needs no accounting.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.environment import mask_secrets
from bench.errors import BenchError
from bench.scheduler.engines.base import Resources
from bench.scheduler.engines.fleet import Fleet, Seen, Slot

if TYPE_CHECKING:
    from bench.scheduler.worker import WorkerConfig

SIGNAL_SECONDS = 120  # before the time limit; a third of a limit that is shorter than six minutes
REQUEUES = 10_000  # times that a job may run into its time limit
ENDING = 40.0  # seconds for checkpoints to be written
QUEUED = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "CONFIGURING"}
RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
PLAIN = {"None", "", "(null)"}


class Slurm(Fleet):
    """The engine; ``every`` seconds it asks squeue how its jobs are."""

    every = 10.0

    def __init__(self, resources: Resources) -> None:
        super().__init__(resources)
        if importlib.util.find_spec("submitit") is None:
            raise BenchError(
                'workers on SLURM need submitit, but it is not installed; `pip install "prunebench[slurm]"`'
            )
        missing = [name for name in ("sbatch", "srun", "squeue", "scancel", "scontrol") if shutil.which(name) is None]
        if missing:
            raise BenchError(
                f"workers on SLURM are submitted from one of its machines, but {missing[0]} is not on the PATH here"
            )
        if resources.gpus != int(resources.gpus):
            raise BenchError(
                f"SLURM gives whole GPUs, but got gpus={resources.gpus}; where your cluster shares them, "
                "say gpus=0 and the option gres=shard:1"
            )
        self._asked = -math.inf

    def _launch(self, config: WorkerConfig, slots: Sequence[Slot]) -> None:
        import submitit

        folder = folder_of(config)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        executor = submitit.SlurmExecutor(folder, max_num_timeout=REQUEUES)
        executor.update_parameters(**parameters(self.resources, name_of(config)))
        job = Job(config, folder)
        try:
            with executor.batch():
                made = [executor.submit(job) for _ in slots]
        except submitit.core.utils.FailedJobError as error:
            raise BenchError(f"SLURM must accept the job, but sbatch says: {_line(error)}") from None
        for slot, handle in zip(slots, made, strict=True):
            slot.job = handle.job_id
        self._asked = -math.inf

    def _look(self) -> Mapping[int, Seen]:
        if self.config is None or time.monotonic() - self._asked < self.every:
            return {}
        self._asked = time.monotonic()
        form, name = "--format=%i|%T|%N|%r", f"--name={name_of(self.config)}"
        told = _ask("squeue", "--me", "--noheader", "--array", "--states=all", name, form)
        if told is None:  # slurmctld is restarted or busy; the jobs do not mind
            return {}
        rows = {row[0]: row[1:] for line in told.splitlines() if len(row := line.strip().split("|", 3)) == 4}
        alive = [slot for slot in self.slots if slot.state in ("queued", "running")]
        return {slot.number: self._seen(self.config, slot, rows.get(slot.job)) for slot in alive}

    def _seen(self, config: WorkerConfig, slot: Slot, row: Sequence[str] | None) -> Seen:
        state, where, reason = row or ("", "", "")
        reason = "" if reason in PLAIN else reason
        if state in QUEUED:
            return Seen("queued", reason=reason)
        if state in RUNNING:
            return Seen("running", where or slot.where)
        note = ended_note(folder_of(config), slot.job)
        told = note.read_text().strip() if note.exists() else None
        if state == "COMPLETED" or told == "":
            return Seen("ended", where)
        how = state.lower().replace("_", " ") or "it left the queue without a word"
        return Seen("lost", where, told or f"{how}; see {folder_of(config) / f'{slot.job}_0_log.out'}")

    def _end(self, slots: Sequence[Slot]) -> None:
        jobs = [slot.job for slot in slots if slot.job]
        if not jobs or self.config is None:
            return
        _ask("scancel", "--state=PENDING", *jobs)
        _ask("scancel", "--signal=INT", *jobs)
        until = time.monotonic() + ENDING
        while time.monotonic() < until:
            time.sleep(1)
            told = _ask("squeue", "--me", "--noheader", "--array", f"--name={name_of(self.config)}", "--format=%i")
            if told is not None and not set(told.split()) & set(jobs):
                return
        _ask("scancel", *jobs)


@dataclass(frozen=True)
class Job:
    """What one job of the array does; submitit pickles it, and again when it is queued again."""

    config: WorkerConfig
    folder: Path

    def __call__(self) -> None:
        """Serve the order. A signal from SLURM ends that and puts the job back into the queue; an interrupt ends it."""
        from bench.scheduler.engines.entry import work

        requeue = signal.getsignal(signal.SIGUSR2)  # submitit's: it calls `checkpoint`, asks SLURM, and exits
        note = ended_note(self.folder, _job_id())
        note.unlink(missing_ok=True)
        ended = work(self.config, (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT))
        reason = ended.reason
        if ended.signals and signal.SIGINT not in ended.signals and _wanted() and callable(requeue):
            try:
                requeue(signal.SIGUSR2, None)
            except subprocess.SubprocessError as error:
                reason = f"it was stopped, and SLURM refused to queue it again: {_line(error)}"
        note.write_text(reason + "\n")
        if reason:
            raise SystemExit(1)

    def checkpoint(self) -> Any:
        """For submitit: the same job again. What its runs had reached is in their own checkpoints."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def parameters(resources: Resources, name: str) -> dict[str, Any]:
    """What submitit's executor is told."""
    minutes = resources.minutes or default_minutes(resources.partition)
    delay = min(SIGNAL_SECONDS, minutes * 20) if minutes else SIGNAL_SECONDS
    options = dict(option.split("=", 1) for option in resources.options)
    cpus = math.ceil(resources.cpus) or 1
    found: dict[str, Any] = {"job_name": name, "time": minutes, "signal_delay_s": delay, "cpus_per_task": cpus}
    found |= {"gpus_per_node": int(resources.gpus)} if resources.gpus else {}
    found |= {"mem": f"{math.ceil(resources.memory_gb * 1024)}MB"} if resources.memory_gb else {}
    found |= {"partition": resources.partition} if resources.partition else {}
    found |= {
        "array_parallelism": resources.workers,
        "srun_args": [f"--cpus-per-task={cpus}"],
        "stderr_to_stdout": True,
    }
    return found | {"additional_parameters": {"requeue": True, "export": "ALL", **options}}


def default_minutes(partition: str) -> int:
    """The time limit of a partition ("": the default one), in minutes: its default, else its longest; 0 where it has none."""
    told = _ask("scontrol", "--oneliner", "show", "partition", *([partition] if partition else [])) or ""
    lines = told.splitlines()
    line = next((text for text in lines if partition or "Default=YES" in text), "")
    values = dict(part.split("=", 1) for part in line.split() if "=" in part)
    found = [_minutes(values.get(key, "")) for key in ("DefaultTime", "MaxTime")]
    return next((minutes for minutes in found if minutes), 0)


def _minutes(text: str) -> int:
    """days-hours:minutes:seconds as whole minutes, 0 for NONE and UNLIMITED."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text)
    if match is None:
        return 0
    days, hours, minutes, _ = (int(part or 0) for part in match.groups())
    return (24 * days + hours) * 60 + minutes


def name_of(config: WorkerConfig) -> str:
    """The name of a study's jobs."""
    return "prunebench-" + re.sub(r"[^A-Za-z0-9_.-]", "-", config.study)


def folder_of(config: WorkerConfig) -> Path:
    """Where submitit keeps what it needs for a study's jobs."""
    return config.home / "studies" / config.study / "slurm"


def ended_note(folder: Path, job: str) -> Path:
    """Where a job says why it ended, for clusters that forget their jobs at once."""
    return folder / f"{job}.ended"


def _job_id() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]


def _wanted() -> bool:
    """Whether SLURM still counts this job as one that should run; it does not after `scancel`."""
    told = _ask("scontrol", "--oneliner", "show", "job", _job_id())
    return told is None or "JobState=RUNNING" in told


def _ask(*command: str) -> str | None:
    """What a program of SLURM's prints, or None where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


def _line(error: BaseException) -> str:
    return mask_secrets(" ".join(str(error).split())[:300])
