"""Workers as a job array on SLURM, submitted through submitit.

Before its time limit, and when it is preempted, a job gets a signal (USR2): its worker's runs write their checkpoints, it
releases its leases, and asks SLURM to queue the job again. A job that SLURM ends without a signal is submitted again by `tend`.

submitit pickles the function of a job into a folder, <home>/studies/<name>/slurm, which only its owner can enter and which is
never shared: nothing loads a pickle from a remote home. The pickle holds a `WorkerConfig` and no password: sbatch passes on the
environment, with the servers' addresses. States are read with squeue and scontrol, so the cluster needs no accounting.
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
from typing import Any

from bench.environment import mask_secrets
from bench.errors import BenchError
from bench.scheduler.engines.base import Resources
from bench.scheduler.engines.entry import work
from bench.scheduler.engines.fleet import Fleet, Slot, Status
from bench.scheduler.worker_config import WorkerConfig

SIGNAL_SECONDS = 120  # before the time limit; a third of a limit that is shorter than six minutes
REQUEUES = 10_000  # times that a job may reach its time limit
ENDING = 40.0  # seconds for runs to write their checkpoints
QUEUED = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "CONFIGURING"}
RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
NO_REASON = {"None", "", "(null)"}


class Slurm(Fleet):
    """The engine; it reads its jobs' states from squeue every ``every`` seconds."""

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
                f"workers on SLURM are submitted from one of its machines, but {missing[0]} is not on the PATH here; run this "
                "command on a login node"
            )
        if resources.gpus != int(resources.gpus):
            raise BenchError(
                f"SLURM gives whole GPUs, but got gpus={resources.gpus}; where your cluster shares them, give gpus=0 and the "
                "option gres=shard:1"
            )
        self._asked = -math.inf

    def _launch(self, config: WorkerConfig, slots: Sequence[Slot]) -> None:
        import submitit  # here and below, because it may not be installed

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

    def _look(self) -> Mapping[int, Status]:
        if self.config is None or time.monotonic() - self._asked < self.every:
            return {}
        self._asked = time.monotonic()
        form, name = "--format=%i|%T|%N|%r", f"--name={name_of(self.config)}"
        listed = _output("squeue", "--me", "--noheader", "--array", "--states=all", name, form)
        if listed is None:  # slurmctld is restarting or busy; jobs continue
            return {}
        rows = {row[0]: row[1:] for line in listed.splitlines() if len(row := line.strip().split("|", 3)) == 4}
        alive = [slot for slot in self.slots if slot.state in ("queued", "running")]
        return {slot.number: self._status(self.config, slot, rows.get(slot.job)) for slot in alive}

    def _status(self, config: WorkerConfig, slot: Slot, row: Sequence[str] | None) -> Status:
        state, where, reason = row or ("", "", "")
        if state in QUEUED:
            return Status("queued", reason="" if reason in NO_REASON else reason)
        if state in RUNNING:
            return Status("running", where or slot.where)
        file = exit_file(folder_of(config), slot.job)
        written = file.read_text().strip() if file.exists() else None
        if state == "COMPLETED" or written == "":
            return Status("ended", where)
        if written:
            return Status("lost", where, written)
        how = state.lower().replace("_", " ") or "it left the queue without a reason"
        return Status("lost", where, f"{how}; see {folder_of(config) / f'{slot.job}_0_log.out'}")

    def _end(self, slots: Sequence[Slot]) -> None:
        jobs = [slot.job for slot in slots if slot.job]
        if not jobs or self.config is None:
            return
        _output("scancel", "--state=PENDING", *jobs)
        _output("scancel", "--signal=INT", *jobs)
        until = time.monotonic() + ENDING
        while time.monotonic() < until:
            time.sleep(1)
            listed = _output("squeue", "--me", "--noheader", "--array", f"--name={name_of(self.config)}", "--format=%i")
            if listed is not None and not set(listed.split()) & set(jobs):
                return
        _output("scancel", *jobs)


@dataclass(frozen=True)
class Job:
    """The function of one job of the array; submitit pickles it, and again when the job is queued again."""

    config: WorkerConfig
    folder: Path

    def __call__(self) -> None:
        """Be a worker. A signal from SLURM ends it and queues the job again; an interrupt only ends it."""
        requeue = signal.getsignal(signal.SIGUSR2)  # submitit's: it calls `checkpoint`, asks SLURM, and exits
        file = exit_file(self.folder, _job_id())
        file.unlink(missing_ok=True)
        ended = work(self.config, (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT))
        reason = ended.reason
        stopped = ended.signals and signal.SIGINT not in ended.signals
        if stopped and _is_wanted() and callable(requeue):
            try:
                requeue(signal.SIGUSR2, None)
            except subprocess.SubprocessError as error:
                reason = f"it was stopped, and SLURM refused to queue it again: {_line(error)}"
        file.write_text(reason + "\n")
        if reason:
            raise SystemExit(1)

    def checkpoint(self) -> Any:
        """Called by submitit: the same job again. The runs' progress is in their own checkpoints."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def parameters(resources: Resources, name: str) -> dict[str, Any]:
    """The parameters of submitit's executor."""
    minutes = resources.minutes or default_minutes(resources.partition)
    delay = SIGNAL_SECONDS
    if minutes:
        delay = min(delay, minutes * 20)
    cpus = math.ceil(resources.cpus) or 1
    found: dict[str, Any] = {"job_name": name, "time": minutes, "signal_delay_s": delay, "cpus_per_task": cpus}
    if resources.gpus:
        found["gpus_per_node"] = int(resources.gpus)
    if resources.memory_gb:
        found["mem"] = f"{math.ceil(resources.memory_gb * 1024)}MB"
    if resources.partition:
        found["partition"] = resources.partition
    found["array_parallelism"] = resources.workers
    found["srun_args"] = [f"--cpus-per-task={cpus}"]
    found["stderr_to_stdout"] = True
    options = dict(option.split("=", 1) for option in resources.options)
    found["additional_parameters"] = {"requeue": True, "export": "ALL", **options}
    return found


def default_minutes(partition: str) -> int:
    """The time limit of a partition ("": the default one) in minutes: its default, else its maximum; 0 if it has none."""
    names = [partition] if partition else []
    lines = (_output("scontrol", "--oneliner", "show", "partition", *names) or "").splitlines()
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
    """The folder of submitit's files for a study."""
    return config.home / "studies" / config.study / "slurm"


def exit_file(folder: Path, job: str) -> Path:
    """The file in which a job writes why it ended, for clusters that forget their jobs at once."""
    return folder / f"{job}.ended"


def _job_id() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]


def _is_wanted() -> bool:
    """Whether SLURM still counts this job as running, which it does not after `scancel`."""
    shown = _output("scontrol", "--oneliner", "show", "job", _job_id())
    return shown is None or "JobState=RUNNING" in shown


def _output(*command: str) -> str | None:
    """The output of one of SLURM's programs, or None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


def _line(error: BaseException) -> str:
    return mask_secrets(" ".join(str(error).split())[:300])
