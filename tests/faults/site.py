"""A small site to cause faults on: a disk that can be filled, a network that can be cut, commands that are started again.

It needs root: the disk is a file system of its own, the network a namespace with a virtual cable to this machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SPACE, CABLE = "benchfaults", "bf"  # names of the namespace and of both ends of its cable
HERE, THERE = "10.231.77.1", "10.231.77.2"


def missing() -> str:
    """Why these tests cannot run here, or ""."""
    if os.geteuid() != 0:
        return "filling a disk and cutting a network need root"
    absent = [name for name in ("ip", "mount", "cc") if shutil.which(name) is None]
    return f"{', '.join(absent)} are not installed: apt-get install iproute2 mount gcc" if absent else ""


@dataclass
class Disk:
    """A file system of some megabytes."""

    folder: Path

    def fill(self) -> None:
        """Fill it completely."""
        with (self.folder / "filler").open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
                file.flush()

    def free(self) -> None:
        """Free the space again."""
        (self.folder / "filler").unlink(missing_ok=True)


@contextlib.contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """A disk of this size at a folder."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


LATE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += 3600;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    (void)zone;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""


def an_hour_off(folder: Path) -> dict[str, str]:
    """The environment of a process whose clock of the day is an hour ahead. (faketime shifts the clocks of timeouts too, and
    then Python's locks wait for ever.)"""
    source, library = folder / "late.c", folder / "late.so"
    source.write_text(LATE)
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


class _Forward(socketserver.BaseRequestHandler):
    port = 0

    def handle(self) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as there:
            back = threading.Thread(target=self._copy, args=(there, self.request), daemon=True)
            back.start()
            self._copy(self.request, there)
            back.join()

    def _copy(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)


@dataclass
class Network:
    """A namespace with a cable to this machine, over which it reaches some of this machine's ports."""

    def cut(self) -> None:
        """Disconnect the cable: packets are lost without an error."""
        _ip("link", "set", f"{CABLE}0", "down")

    def mend(self) -> None:
        """Connect it again."""
        _ip("link", "set", f"{CABLE}0", "up")


@contextlib.contextmanager
def network(*ports: int) -> Iterator[Network]:
    """A network whose inhabitants reach the given ports of the loopback address at `HERE`."""
    subprocess.run(["ip", "netns", "del", SPACE], check=False, stderr=subprocess.DEVNULL)
    _ip("netns", "add", SPACE)
    servers = []
    try:
        _ip("link", "add", f"{CABLE}0", "type", "veth", "peer", "name", f"{CABLE}1")
        _ip("link", "set", f"{CABLE}1", "netns", SPACE)
        _ip("addr", "add", f"{HERE}/24", "dev", f"{CABLE}0")
        _ip("link", "set", f"{CABLE}0", "up")
        for words in (
            ["addr", "add", f"{THERE}/24", "dev", f"{CABLE}1"],
            ["link", "set", f"{CABLE}1", "up"],
            ["link", "set", "lo", "up"],
        ):
            _ip("-n", SPACE, *words)
        for port in ports:
            handler = type("Forward", (_Forward,), {"port": port})
            server = socketserver.ThreadingTCPServer((HERE, port), handler, bind_and_activate=False)
            server.daemon_threads, server.allow_reuse_address = True, True
            server.server_bind()
            server.server_activate()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.append(server)
        yield Network()
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
        _ip("netns", "del", SPACE)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@dataclass
class Watched:
    """A command that is started again whenever it fails, as a service manager would do."""

    name: str
    words: tuple[str, ...]
    log: Path
    environment: Mapping[str, str]
    before: tuple[str, ...] = ()
    starts: int = 0
    codes: list[int] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def tend(self, good: int = 0) -> bool:
        """Start it if it does not run; returns True once it has succeeded."""
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return False
            if not self.codes or len(self.codes) < self.starts:
                self.codes.append(code)
            if code == good:
                return True
        self.starts += 1
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.before, sys.executable, "-m", "bench", *self.words],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1", **self.environment},
                start_new_session=True,
            )
        return False

    def kill(self, *, family: bool) -> None:
        """Kill it with -9: the process alone, so that its runs lose their parent, or with all its children."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if family else os.kill)(self.process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it with its children, and wait."""
        self.kill(family=True)
        if self.process is not None:
            self.process.wait()
