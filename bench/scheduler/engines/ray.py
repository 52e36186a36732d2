"""Workers as tasks on a Ray cluster: an existing one, or one that is started here, on loopback, and ends with the study.

Ray places them by CPUs, GPUs (also fractions) and memory, and tells each which GPU is its own. What a worker needs to reach the
servers travels as an argument of its task, which Ray shows nowhere, and never as part of a runtime environment, which its
dashboard shows.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psutil

from bench.environment import mask_secrets
from bench.errors import BenchError
from bench.scheduler.engines.base import Resources
from bench.scheduler.engines.fleet import Fleet, Seen, Slot

if TYPE_CHECKING:
    from bench.scheduler.worker import WorkerConfig

PASSED = ("BENCH_", "MLFLOW_", "FSSPEC_", "AWS_", "PG")
"""The environment that workers get begins with these, and is PYTHONPATH."""

LEAST_STORE = 100 * 2**20  # bytes; nothing large travels through Ray
ANSWER = 10.0  # seconds that an existing cluster may take to answer
STARTS = 3  # a busy machine may miss Ray's own limit, of 30 s, for its start
LEAVING = 20.0  # seconds for Ray's own programs to end in
ENDING = 30.0  # seconds for checkpoints to be written


def require() -> None:
    """Refuse where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise BenchError('workers on Ray need its package, but it is not installed; `pip install "prunebench[ray]"`')


class Ray(Fleet):
    """The engine, inside the process that `bench.scheduler.engines.ray_process` starts for it."""

    def __init__(self, resources: Resources) -> None:
        super().__init__(resources)
        self._folder = ""

    def _launch(self, config: WorkerConfig, slots: Sequence[Slot]) -> None:
        ray = self._connected()
        resources, passed = (
            self.resources,
            {k: v for k, v in os.environ.items() if k.startswith(PASSED) or k == "PYTHONPATH"},
        )
        wanted = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
        wanted |= {"memory": int(resources.memory_gb * 2**30)} if resources.memory_gb else {}
        task = ray.remote(max_retries=0, max_calls=1)(serve).options(name=f"prunebench {config.study}", **wanted)
        for slot in slots:
            note = f"prunebench:{secrets.token_hex(8)}"
            slot.job = (task.remote(config, passed, note), note)

    def _connected(self) -> Any:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")  # of a minute each, and not twenty
        if not self.resources.address:
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's word for: on loopback only
            os.environ["RAY_AUTH_MODE"] = "token"  # others on this machine cannot use it
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        import ray

        _require_answer(self.resources.address)
        attempts = 1 if self.resources.address else STARTS
        while not ray.is_initialized():
            attempts -= 1
            try:
                ray.init(**self._place(), log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError, and bare ones
                ray.shutdown()
                if attempts:
                    continue
                raise _silent(self.resources.address, _line(error)) from None
            self._refuse(ray)
        return ray

    def _place(self) -> dict[str, Any]:
        if self.resources.address:
            return {"address": self.resources.address}
        self._folder = self._folder or tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets need a short path
        cores = len(os.sched_getaffinity(0))
        return {
            **{"num_cpus": cores, "include_dashboard": False, "object_store_memory": LEAST_STORE},
            **{"_temp_dir": f"{self._folder}/r"},  # Ray opens its own folder for all accounts; the one above is ours
        }

    def _refuse(self, ray: Any) -> None:
        """Refuse on a cluster of our own what no node will ever have; others may grow."""
        if self._fits(ray) or self.resources.address:
            return
        raise BenchError(
            f"a worker must fit on one machine, but {self._asked()} is more than Ray finds here; ask for less"
        )

    def _asked(self) -> str:
        memory = f", {self.resources.memory_gb:g} GiB" if self.resources.memory_gb else ""
        return f"{self.resources.cpus:g} CPUs, {self.resources.gpus:g} GPUs{memory}"

    def _fits(self, ray: Any) -> bool:
        asked = {"CPU": self.resources.cpus, "GPU": self.resources.gpus, "memory": self.resources.memory_gb * 2**30}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return any(all(node.get(key, 0) >= amount for key, amount in asked.items()) for node in nodes)

    def _look(self) -> Mapping[int, Seen]:
        import ray

        alive = {slot.job[0]: slot for slot in self.slots if slot.state in ("queued", "running")}
        ready = set(ray.wait(list(alive), num_returns=len(alive), timeout=0)[0]) if alive else set()
        found = {slot.number: self._ended(ray, job, slot) for job, slot in alive.items() if job in ready}
        for job, slot in alive.items():
            if job not in ready and slot.state == "queued":
                found[slot.number] = self._begun(slot)
        if any(seen.state == "queued" for seen in found.values()) and not self._fits(ray):
            found = {
                n: Seen("queued", reason=f"no node has {self._asked()}") if s.state == "queued" else s
                for n, s in found.items()
            }
        return found

    def _ended(self, ray: Any, job: Any, slot: Slot) -> Seen:
        try:
            reason = ray.get(job)
        except ray.exceptions.RayError as error:
            return Seen("lost", slot.where, _line(error))
        return Seen("lost" if reason else "ended", slot.where, reason)

    def _begun(self, slot: Slot) -> Seen:
        from ray.experimental.internal_kv import _internal_kv_get

        where = _internal_kv_get(slot.job[1])
        return Seen("running", where.decode()) if where else Seen("queued")

    def _end(self, slots: Sequence[Slot]) -> None:
        ray = sys.modules.get("ray")
        if ray is not None and ray.is_initialized():
            jobs = [slot.job[0] for slot in slots]
            for job in jobs:
                ray.cancel(job)
            if jobs:
                ray.wait(jobs, num_returns=len(jobs), timeout=ENDING)
            family = psutil.Process().children(recursive=True)
            ray.shutdown()
            psutil.wait_procs(family, timeout=LEAVING)  # Ray does not; they still write to its folder
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _require_answer(address: str) -> None:
    """Refuse at once an address where nothing listens: Ray itself would try for a quarter of an hour."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
    except OSError as error:
        raise _silent(address, error.strerror or str(error)) from None


def _silent(address: str, why: str) -> BenchError:
    where = f"{mask_secrets(address)} does" if address else "one started here did"
    return BenchError(f"workers need a Ray cluster, but {where} not answer ({why}); see `ray status`")


def serve(config: WorkerConfig, passed: Mapping[str, str], note: str) -> str:
    """The task: a worker, which Ray stops by an interrupt. Returns why it failed, or "".

    Its process is this worker's alone and ends with it.
    """
    from ray.experimental.internal_kv import _internal_kv_put

    from bench.scheduler.engines.entry import work

    os.environ.update(passed)
    with contextlib.suppress(AttributeError):
        del sys.modules["__main__"].__file__  # Ray's own script, which every child would import, with all of Ray
    with contextlib.suppress(Exception):  # only words for the user
        _internal_kv_put(note, socket.gethostname().encode())
    return work(config, (signal.SIGINT, signal.SIGTERM)).reason


def _line(error: BaseException) -> str:
    """The first line of what Ray says about an error."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    return mask_secrets((lines or [type(error).__name__])[0][:200])
