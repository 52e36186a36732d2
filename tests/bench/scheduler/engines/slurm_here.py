"""A SLURM cluster of one node, on loopback, from Debian's packages slurm-wlm and munge, for the tests of the engine.

Run as root: slurmd starts jobs for accounts. Everything lies in one folder, and ends with the test.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol")
CONFIGURATION = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
CredType=cred/munge
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
KillWait=30
MinJobAge=60
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=here Nodes={host} Default=YES DefaultTime=30:00 MaxTime=UNLIMITED State=UP
"""


def missing() -> str:
    """Why there can be no such cluster, or ""."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        return f"needs Debian's packages slurm-wlm and munge ({absent[0]} is absent)"
    return "" if os.geteuid() == 0 else "needs root, to start slurmd"


@contextlib.contextmanager
def cluster(folder: Path, cpus: int = 4) -> Iterator[dict[str, str]]:
    """A running cluster; yields its environment variables. Its node pretends to have ``cpus``, whatever the machine has."""
    found = {"PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "SLURM_CONF": str(folder / "slurm.conf")}
    for name in ("spool", "state"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    host, memory = (
        socket.gethostname().partition(".")[0],
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
    )
    text = CONFIGURATION.format(folder=folder, host=host, ports=(_free(), _free()), cpus=cpus, memory=memory // 2)
    (folder / "slurm.conf").write_text(text)
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nIgnoreSystemd=yes\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    commands = [
        [
            *("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"),
            *(f"--{name}-file={folder}/munged.{name}" for name in ("pid", "log", "seed")),
        ],
        ["slurmctld", "-D", "-f", found["SLURM_CONF"]],
        ["slurmd", "-D", "-f", found["SLURM_CONF"], "-N", host],
    ]
    environment, programs = {**os.environ, **found}, list[subprocess.Popen[bytes]]()
    try:
        for command in commands:
            with (folder / f"{command[0]}.said").open("wb") as said:
                programs.append(subprocess.Popen(command, env=environment, stdout=said, stderr=said))
            time.sleep(1)
        _wait(environment, folder, programs)
        yield found
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True, timeout=60, check=False)
        _wait_until_empty(environment)
        for program in reversed(programs):
            program.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(20)
            program.kill()
            program.wait()


def _wait(environment: dict[str, str], folder: Path, programs: list[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        shown = subprocess.run(
            ["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, check=False
        )
        if shown.stdout.strip() == "idle":
            return
        if any(program.poll() is not None for program in programs):
            break
        time.sleep(0.5)
    logs = "\n".join(path.read_text(errors="replace")[-1500:] for path in sorted(folder.glob("*.said")))
    raise RuntimeError(f"SLURM did not start: {shown.stdout}{shown.stderr}\n{logs}")


def _wait_until_empty(environment: dict[str, str]) -> None:
    until = time.monotonic() + 40
    while time.monotonic() < until:
        shown = subprocess.run(["squeue", "-h"], env=environment, capture_output=True, text=True, check=False)
        if not shown.stdout.strip():
            return
        time.sleep(0.5)


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
