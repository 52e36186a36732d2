"""Workers as Ray tasks: on an existing cluster, or on one that is started here, on loopback, and ends with the study.

Ray places them by CPUs, GPUs (also fractions) and memory, and assigns GPUs to them. The environment variables with the servers'
addresses and passwords are an argument of the task, which Ray shows nowhere; its dashboard would show a runtime environment.
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
from typing import Any

import psutil

from bench.environment import mask_secrets
from bench.errors import BenchError
from bench.scheduler.engines.base import Resources
from bench.scheduler.engines.entry import work
from bench.scheduler.engines.fleet import Fleet, Slot, Status
from bench.scheduler.worker_config import WorkerConfig

PASSED = ("BENCH_", "MLFLOW_", "FSSPEC_", "AWS_", "PG")
"""Prefixes of the environment variables that workers get, besides PYTHONPATH."""

OBJECT_STORE = 100 * 2**20  # bytes, Ray's minimum: nothing large is sent through Ray
ANSWER = 10.0  # seconds that an existing cluster may take to answer
STARTS = 3  # attempts: on a busy machine a start may exceed Ray's own limit of 30 s
LEAVING = 20.0  # seconds for Ray's own programs to end
ENDING = 30.0  # seconds for runs to write their checkpoints


def require() -> None:
    """Raise a BenchError if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise BenchError('workers on Ray need its package, but it is not installed; `pip install "prunebench[ray]"`')


class Ray(Fleet):
    """The workers, seen from the process that `bench.scheduler.engines.ray_process` starts."""

    def __init__(self, resources: Resources) -> None:
        super().__init__(resources)
        self._folder = ""

    def _launch(self, config: WorkerConfig, slots: Sequence[Slot]) -> None:
        ray = self._connected()
        resources = self.resources
        passed = {k: v for k, v in os.environ.items() if k.startswith(PASSED) or k == "PYTHONPATH"}
        wanted = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
        if resources.memory_gb:
            wanted["memory"] = int(resources.memory_gb * 2**30)
        task = ray.remote(max_retries=0, max_calls=1)(serve).options(name=f"prunebench {config.study}", **wanted)
        for slot in slots:
            host_key = f"prunebench:{secrets.token_hex(8)}"
            slot.job = (task.remote(config, passed, host_key), host_key)

    def _connected(self) -> Any:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")  # of a minute each; Ray's default is 20
        if not self.resources.address:
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # makes Ray listen on loopback only
            os.environ["RAY_AUTH_MODE"] = "token"  # others on this machine cannot use it
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        import ray  # here and below, because it may not be installed

        _require_answer(self.resources.address)
        attempts = 1 if self.resources.address else STARTS
        while not ray.is_initialized():
            attempts -= 1
            try:
                ray.init(**self._where(), log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError, and Exception itself
                ray.shutdown()
                if attempts:
                    continue
                raise _no_answer(self.resources.address, _first_line(error)) from None
            self._require_fit(ray)
        return ray

    def _where(self) -> dict[str, Any]:
        if self.resources.address:
            return {"address": self.resources.address}
        self._folder = self._folder or tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # the path of a socket must be short
        cores = len(os.sched_getaffinity(0))
        return {
            **{"num_cpus": cores, "include_dashboard": False, "object_store_memory": OBJECT_STORE},
            **{"_temp_dir": f"{self._folder}/r"},  # all accounts can enter Ray's folder, but not ours above it
        }

    def _require_fit(self, ray: Any) -> None:
        """On a cluster of our own, refuse resources that it does not have; other clusters may grow."""
        if self._fits(ray) or self.resources.address:
            return
        raise BenchError(
            f"a worker must fit on one machine, but {self._asked()} is more than Ray finds here; ask for less"
        )

    def _asked(self) -> str:
        asked = f"{self.resources.cpus:g} CPUs, {self.resources.gpus:g} GPUs"
        if self.resources.memory_gb:
            asked += f", {self.resources.memory_gb:g} GiB"
        return asked

    def _fits(self, ray: Any) -> bool:
        asked = {"CPU": self.resources.cpus, "GPU": self.resources.gpus, "memory": self.resources.memory_gb * 2**30}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return any(all(node.get(key, 0) >= amount for key, amount in asked.items()) for node in nodes)

    def _look(self) -> Mapping[int, Status]:
        import ray

        alive = {slot.job[0]: slot for slot in self.slots if slot.state in ("queued", "running")}
        ready = set[Any]()
        if alive:
            ready = set(ray.wait(list(alive), num_returns=len(alive), timeout=0)[0])
        found = {slot.number: self._ended(ray, job, slot) for job, slot in alive.items() if job in ready}
        for job, slot in alive.items():
            if job not in ready and slot.state == "queued":
                found[slot.number] = self._queued(slot)
        queued = [number for number, status in found.items() if status.state == "queued"]
        if queued and not self._fits(ray):
            found |= dict.fromkeys(queued, Status("queued", reason=f"no node has {self._asked()}"))
        return found

    def _ended(self, ray: Any, job: Any, slot: Slot) -> Status:
        try:
            reason = ray.get(job)
        except ray.exceptions.RayError as error:
            return Status("lost", slot.where, _first_line(error))
        return Status("lost" if reason else "ended", slot.where, reason)

    def _queued(self, slot: Slot) -> Status:
        """A queued worker runs as soon as it has stored its host's name."""
        from ray.experimental.internal_kv import _internal_kv_get

        host = _internal_kv_get(slot.job[1])
        if host:
            return Status("running", host.decode())
        return Status("queued")

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
            psutil.wait_procs(family, timeout=LEAVING)  # `shutdown` does not wait, and they still write to Ray's folder
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _require_answer(address: str) -> None:
    """Refuse an address where nothing listens, for which Ray itself would try for a quarter of an hour."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
    except OSError as error:
        raise _no_answer(address, error.strerror or str(error)) from None


def _no_answer(address: str, why: str) -> BenchError:
    where = f"{mask_secrets(address)} does" if address else "one started here did"
    return BenchError(f"workers need a Ray cluster, but {where} not answer ({why}); see `ray status`")


def serve(config: WorkerConfig, passed: Mapping[str, str], host_key: str) -> str:
    """The Ray task: a worker in a process of its own, which Ray stops by an interrupt. Returns why it failed, or "".

    It stores its host's name under ``host_key``.
    """
    from ray.experimental.internal_kv import _internal_kv_put

    os.environ.update(passed)
    with contextlib.suppress(AttributeError):
        del sys.modules["__main__"].__file__  # Ray's own script, which every child would import, with all of Ray
    with contextlib.suppress(Exception):  # the name is only shown to the user
        _internal_kv_put(host_key, socket.gethostname().encode())
    return work(config, (signal.SIGINT, signal.SIGTERM)).reason


def _first_line(error: BaseException) -> str:
    """The first line of Ray's message."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    return mask_secrets((lines or [type(error).__name__])[0][:200])
