"""Lives of an agent that a zygote goes through by itself, before those that count.

Python fits a function's code to what its first calls bring, and notes that in the code:
whoever does so after a fork copies the page. What was fitted before is shared.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
from collections.abc import Iterator
from typing import Final

from executions.sandbox import linux
from executions.sandbox.agent import Agent, Bounds, Place, Warm
from executions.sandbox.cgroups import StageFiles
from executions.sandbox.jail import ENVIRONMENT, FOLLOWER, Door, JailConfinement
from executions.sandbox.protocol import FROM_AGENT, Decoder, encode

LIVES: Final = 12
"""Python 3.11 adapts a function from its eighth call on (Python/specialize.c)."""
_KEY: Final = "rehearsal"
_SIZE: Final = "1m"
_SOURCE: Final = b"hello\n"
# What stands for an interpreter waits for its orders and says hello.
_WARM: Final = Warm(
    key=_KEY,
    argv=("sh", "-c", "read -r orders <&3 && cat hello"),
    command=("sh", "hello"),
    folder="/",
)
# What the kernel would tell of an unused cgroup, see cgroups.read_usage().
_USAGE: Final = {
    0: (),
    1: (b"0", b"0", b"0", b"oom_kill_disable 0\noom_kill 0\n", b"max 0\n", b"0", b"0"),
    2: (b"usage_usec 0\n", b"0", b"0", b"oom 0\noom_kill 0\n", b"max 0\n"),
}
_LIMITS: Final = {
    "cpu_time_ms": 1_000,
    "wall_time_ms": 1_000,
    "memory_bytes": 1 << 28,
    "output_bytes": 1 << 20,
    "max_processes": 64,
    "file_bytes": 1 << 20,
    "scratch_bytes": 1 << 20,
    "stack_bytes": 8 << 20,
}
_RUN: Final = encode(
    "run",
    {
        "key": _KEY,
        "files": [{"path": "hello", "size": len(_SOURCE)}],
        "compile": None,
        "run": {"argv": ["sh", "hello"], "env": {}, "limits": _LIMITS},
        "cases": [{"stdin_bytes": 0, "args": []}],
        "prestart": _KEY,
        "interactive": False,
    },
    _SOURCE,
)


class Rehearsal:
    """The lives still to go through; `left` is 0 when they are, or one went wrong."""

    def __init__(self, cgroup_version: int) -> None:
        self.left = LIVES
        self._version = cgroup_version

    def go_on(self) -> None:
        """Go through one life, which takes some milliseconds; raises nothing."""
        self.left -= 1
        try:
            if not _live(self._version):
                self.left = 0
        except Exception:  # noqa: BLE001 - what it spares is not needed
            self.left = 0
        if not self.left:
            gc.collect()
            gc.freeze()  # as the server did with what was there before


class _Follower:
    """A worker's part of the conversation, in the agent's own loop."""

    def __init__(self, agent: Agent, sock: socket.socket) -> None:
        self.output = b""
        self._agent = agent
        self._sock = sock
        self._decoder = Decoder(FROM_AGENT)
        sock.sendall(_RUN)
        agent.watch(sock.fileno(), select.POLLIN, self._listen)

    def _listen(self) -> None:
        data = self._sock.recv(1 << 16)
        if not data:
            self._agent.end()
        for frame in self._decoder.feed(data):
            if frame.kind == "output" and frame.header["stream"] == "stdout":
                self.output += frame.body
            elif frame.kind == "result":
                self._sock.sendall(encode("ack", {}))


def _live(cgroup_version: int) -> bool:
    """Be an agent until its run is acknowledged; return whether all went well."""
    server, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, theirs = socket.socketpair()
    with server, control, ours, theirs:
        socket.send_fds(server, [FOLLOWER], [theirs.fileno()])
        with _folder() as folder, _stage(folder, cgroup_version) as stage:
            home = stage.enter if stage else ()
            confinement = JailConfinement(control, cgroup_version, stage, home)
            place = Place(folder, {**ENVIRONMENT, "TMPDIR": folder}, is_init=False)
            bounds = Bounds(linger_s=1.0, idle_s=1.0)
            agent = Agent(Door(control), confinement, place, _WARM, bounds, None)
            try:
                follower = _Follower(agent, ours)
                agent.run_forever()
            finally:
                agent.close()
                os.chdir("/")
            return follower.output == _SOURCE and agent.exit_status == 0


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    """Make a folder of our own that nobody else can name: it is mounted nowhere."""
    filesystem, mount = linux.new_tmpfs(size=_SIZE, mode="0700")
    try:
        yield f"/proc/self/fd/{mount}"
    finally:
        os.close(mount)
        os.close(filesystem)


@contextlib.contextmanager
def _stage(folder: str, cgroup_version: int) -> Iterator[StageFiles | None]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    fds = []
    try:
        for number, told in enumerate((b"", *_USAGE[cgroup_version])):
            fds.append(os.open(f"{folder}/stage-{number}", flags, 0o600))
            os.write(fds[-1], told)
        yield StageFiles(fds[:1], fds[1:]) if cgroup_version else None
    finally:
        for fd in fds:
            os.close(fd)
