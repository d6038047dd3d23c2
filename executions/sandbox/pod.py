"""The agent as PID 1 of a sandbox pod, which others confine.

Standard library only. The image has links from the usual writable folders into one
memory-backed volume. What the pod's own limits do not cover is the agent's part: an
execution's limits below those of its profile are looked after by sampling.
"""

from __future__ import annotations

import contextlib
import errno
import hmac  # noqa: F401 - ready when somebody knocks: 10 ms of a cold run
import math
import os
import resource
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from executions import runtimes
from executions.limits import Limits
from executions.runtimes import build
from executions.sandbox import agent, cgroups, linux, seccomp
from executions.sandbox.manifests import (
    AGENT_PORT,
    SCRATCH,
    SHARED_MEMORY,
    SHARED_MEMORY_FOLDER,
)
from executions.sandbox.socketmemory import SocketMemory

if TYPE_CHECKING:
    import _socket

# Behind each link in the image, and what is mounted, its folder in the volume.
WRITABLE: Final = {
    "/box": "box",
    "/tmp": "tmp",  # noqa: S108 - the pod's own
    "/var/tmp": "var_tmp",  # noqa: S108
    "/home/runner": "home",
    SHARED_MEMORY: SHARED_MEMORY_FOLDER,
}
ACCOUNTS: Final = "/opt/agent/accounts"
ENVIRONMENT: Final = {
    "PATH": build.SEARCH_PATH,
    "HOME": "/home/runner",
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",  # noqa: S108
}
# A network that lets us through answers within a few milliseconds: the kernel does.
_SILENCE_S: Final = 0.024
# Kept for documentation and in nobody's use: RFC 5737, RFC 3849; the port of discard.
_NOBODY: Final = {
    socket.AF_INET: ("192.0.2.1", 9),
    socket.AF_INET6: ("2001:db8::1", 9),
}
# IP_RECVERR of linux/in.h, IPV6_RECVERR of linux/in6.h.
_RECEIVE_ERRORS: Final = {
    socket.AF_INET: (socket.IPPROTO_IP, 11, 1),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25, 1),
}
# Origin, type and code in a sock_extended_err of linux/errqueue.h: the port cannot be
# reached, or it is forbidden, by RFC 1812, 5.2.7.1, and RFC 4443, 3.1.
_REJECTIONS: Final = {(2, 3, code) for code in (3, 9, 10, 13)} | {
    (3, 1, code) for code in (1, 4, 5, 6)
}
_RETRY_S: Final = 0.001
_LONGEST_RETRY_S: Final = 0.1
_REFUSED_S: Final = 3.0
_IDLE_S: Final = 3600.0
# Its pod is deleted sooner. A container that ends first costs the node and the API
# server an update of their own.
_REST_S: Final = 10.0
# The agent's own: where it listens, and its follower's.
_OWN_SOCKETS: Final = 2
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class _Reading(NamedTuple):
    """What the container uses; `memory_bytes` is without what is left out.

    `record_bytes` is the most that it ever used, with all: a lower number of what is
    left out now would not make it any higher.
    """

    usage: agent.Usage
    memory_bytes: int
    record_bytes: int
    left_out_bytes: int


class PodConfinement:
    """An agent.Confinement that can read the container's cgroup, but not make others.

    A stage's usage counts from what there was when it began: for the first one, with
    its interpreter, when this was made. The agent's own is left out, and so is what the
    kernel keeps of files on the node's disk; what sockets hold counts, too. Raises
    OSError and LookupError where it cannot read the cgroup: no limit could be held.
    """

    samples_memory = True

    def __init__(self) -> None:
        self._files = cgroups.own_usage_files(Path("/proc/self/mountinfo").read_text())
        self._sockets = _sockets(self._files.version)
        self._stage = 0
        self._begin(self._read())

    def _begin(self, used: _Reading) -> None:
        """Count from here."""
        self._base_bytes = used.memory_bytes
        self._record_bytes = used.record_bytes
        self._peak_bytes = 0

    def place(self, stage: int) -> None:
        return

    def within(self, stage: int) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def usage(self, stage: int) -> agent.Usage:
        used = self._read()
        if stage != self._stage:
            self._stage = stage
            self._begin(used)
        now = used.memory_bytes - self._base_bytes
        # No sample has to have seen that the container's own record was broken.
        record = 0
        if used.record_bytes > self._record_bytes:
            self._record_bytes = used.record_bytes
            record = used.record_bytes - used.left_out_bytes - self._base_bytes
        self._peak_bytes = max(self._peak_bytes, now, record)
        return used.usage._replace(
            memory_bytes=max(0, now), memory_peak_bytes=self._peak_bytes
        )

    def _read(self) -> _Reading:
        used = cgroups.read_usage(self._files.version, self._files.usage)
        left_out = cgroups.read_page_cache(self._files) + _own_bytes()
        without_us = used._replace(cpu_ns=used.cpu_ns - time.process_time_ns())
        return _Reading(
            without_us,
            memory_bytes=used.memory_bytes - left_out + self._held_by_sockets(),
            record_bytes=used.memory_peak_bytes,
            left_out_bytes=left_out,
        )

    def _held_by_sockets(self) -> int:
        with contextlib.suppress(OSError):
            return self._sockets.read_bytes() if self._sockets else 0
        return 0

    def shrink_scratch(self, size_bytes: int) -> None:
        """The volume has the profile's size; a smaller one cannot be set from here."""


def _sockets(version: int) -> SocketMemory | None:
    """Return what reads the memory of sockets where no cgroup does."""
    if version != 1:
        return None
    with contextlib.suppress(OSError):
        return SocketMemory(without=AGENT_PORT, few=_OWN_SOCKETS)
    return None


def _own_bytes() -> int:
    """Return how much memory of its own the agent has: see proc_pid_statm(5)."""
    with open("/proc/self/statm", "rb") as file:
        _, resident, shared, *_ = file.read().split()
    return (int(resident) - int(shared)) * PAGE_BYTES


class Answer(Enum):
    """What came of attempts to connect: of packets that arrive, the last two."""

    NONE = 0
    REJECTION = 1
    """A filter on the way says that it let nothing pass."""
    REFUSAL = 2
    CONNECTION = 3


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def answer(host: str, port: int, silence_s: float = _SILENCE_S) -> Answer:
    """Try to connect, twice; tell the first answer, NONE when there was none.

    One packet may be lost, and the first to an address takes its time: the second try
    comes a third of `silence_s` after the first.
    """
    family = _family(host)
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for wait_s in (silence_s / 3, 2 * silence_s / 3):
            tried = stack.enter_context(socket.socket(family))
            tried.setblocking(False)
            # Without this ICMP's messages are refusals: see ip(7).
            with contextlib.suppress(OSError):
                tried.setsockopt(*_RECEIVE_ERRORS[family])
            code = tried.connect_ex((host, port))
            if code != errno.EINPROGRESS:
                return Answer.REFUSAL if code else Answer.CONNECTION
            selector.register(tried, selectors.EVENT_WRITE, tried)
            for key, _ in selector.select(wait_s):
                return _answer_to(key.data)
    return Answer.NONE


def _answer_to(tried: socket.socket) -> Answer:
    if not tried.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return Answer.CONNECTION
    with contextlib.suppress(OSError):
        for *_, error in tried.recvmsg(1, 512, socket.MSG_ERRQUEUE)[1]:
            if struct.unpack_from("=IBBB", error)[1:] in _REJECTIONS:
                return Answer.REJECTION
    return Answer.REFUSAL


def wait_for_isolation(
    most_s: float = math.inf, ask: Callable[[str, int], Answer] = answer
) -> None:
    """Return once the API server cannot be reached, as nothing is to be.

    Network plugins enforce a policy some time after a pod has its address. Then there
    is silence, or a rejection of all that is sent. A service without endpoints is
    rejected, too, so an address that nobody has must be as well. Silence after a
    rejection tells nothing: kernels limit the rate of these. What is neither is
    believed when there was no connection for a while: an API server that is started
    again refuses.
    """
    began = connected_at = time.monotonic()
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = int(os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
    nobody = _NOBODY[_family(host)]
    was_rejected = False
    while host:
        told = ask(host, port)
        now = time.monotonic()
        if told is Answer.NONE and not was_rejected:
            return
        if told is Answer.REJECTION:
            was_rejected = True
            if ask(*nobody) is Answer.REJECTION:
                return
        elif told is Answer.CONNECTION:
            connected_at = now
        if now - connected_at > _REFUSED_S or now - began > most_s:
            return
        # A fifth later than it could have been, at the most.
        time.sleep(min(_RETRY_S + 0.2 * (now - began), _LONGEST_RETRY_S))


def _environment() -> dict[str, str]:
    """Return the environment of programs: a canary's knows where the API server is."""
    if not os.environ.get("SANDBOX_CANARY"):
        return ENVIRONMENT
    names = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
    return ENVIRONMENT | {n: os.environ[n] for n in names if n in os.environ}


def _make_folders() -> None:
    for folder in WRITABLE.values():
        Path(SCRATCH, folder).mkdir(mode=0o700, exist_ok=True)


def _limit_cores() -> None:
    """Allow dumps of one byte, as launchers do, before the filter forbids to set that.

    With 0 a node's handler of dumps would be started; see core(5).
    """
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def _name_user() -> None:
    """Give the pod's own user a name, as many programs look theirs up.

    In the image /etc/passwd and /etc/group are links to here. Without them there is
    just no name.
    """
    user, group = os.getuid(), os.getgid()
    lines = {
        "passwd": f"runner:x:{user}:{group}::/home/runner:/bin/sh\n",
        "group": f"runner:x:{group}:\n",
    }
    for name, line in lines.items():
        with contextlib.suppress(FileNotFoundError):
            others = Path(ACCOUNTS, name).read_text()
            Path(SCRATCH, name).write_text(line + others)


def _warm(name: str) -> agent.Warm | None:
    runtime = runtimes.get(name) if name else None
    if runtime is None or runtime.prestart is None:
        return None
    (filled,) = (p for p in build.prestarts(Limits()) if p.key == runtime.prestart.key)
    return agent.Warm(filled.key, filled.argv, filled.command, filled.env, filled.files)


class Isolation:
    """Finds out when the pod's network is shut, once somebody has knocked.

    Until then a pod asks nothing of the network. `fileno()` can be read when it is
    shut, or given up after `most_s`. A thread waits, as meanwhile there is a run to be
    read and laid out.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC)
        self._waiting: threading.Thread | None = None

    def fileno(self) -> int:
        return self._reader

    def begin(self) -> None:
        """Begin to look, unless that has begun."""
        if self._waiting is None:
            self._waiting = threading.Thread(target=self._wait, daemon=True)
            self._waiting.start()

    def _wait(self) -> None:
        wait_for_isolation(self._most_s)
        os.write(self._writer, b".")


class KnockListener(agent.Listener):
    """A Door whose first knock begins the look at the network."""

    def __init__(self, listener: socket.socket, isolation: Isolation) -> None:
        super().__init__(listener)
        self._isolation = isolation

    def accept(self) -> _socket.socket | None:
        self._isolation.begin()
        return super().accept()


def _listen() -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", AGENT_PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=16
        )
    return socket.create_server(("", AGENT_PORT), backlog=16)


def main() -> NoReturn:
    """Be PID 1 of a pod, configured by the variables that manifests.py sets."""
    token = os.environ.pop("SANDBOX_TOKEN", "")
    if not token:
        sys.exit("SANDBOX_TOKEN is not set: nobody could be told from a stranger")
    # Before anything can run here that might read /proc/1/environ.
    linux.set_dumpable(False)
    _limit_cores()
    linux.no_new_privileges()
    os.umask(0o022)
    _make_folders()
    _name_user()
    warm = _warm(os.environ.get("SANDBOX_PRESTART", ""))
    try:
        confinement = PodConfinement()
    except (OSError, LookupError, ValueError) as error:
        sys.exit(
            f"the container's cgroup cannot be read, so no limit would hold: {error!r}"
        )
    linux.Filter(seccomp.FILTER).install()
    place = agent.Place(
        scratch=f"{SCRATCH}/box",
        env=_environment(),
        writable=tuple(f"{SCRATCH}/{part}" for part in WRITABLE.values()),
        counts_processes=False,
    )
    isolation = Isolation(float(os.environ.get("SANDBOX_ISOLATION_S", "inf")))
    agent.serve(
        KnockListener(_listen(), isolation),
        confinement,
        place,
        warm=warm,
        # At once, as an agent that dies with its program can say nothing later.
        bounds=agent.Bounds(idle_s=_IDLE_S, coalesce_start_s=0.0, rest_s=_REST_S),
        token=token,
        may_begin=isolation.fileno(),
    )
