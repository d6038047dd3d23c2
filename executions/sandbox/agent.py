"""PID 1 of every sandbox: runs one program and tells a follower about it.

Standard library only (and protocol.py beside it), so that it runs in any image that has
Python. It is single-threaded and stays small, as a fork server forks it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn, Protocol


class Usage(NamedTuple):
    """What a stage has used so far, all its processes together, since it was made."""

    cpu_ns: int
    memory_peak_bytes: int
    memory_bytes: int
    oom_kills: int
    processes_refused: int


class Confinement(Protocol):
    """What surrounds the program: the agent's only way to cgroups and the like."""

    def place(self, stage: int) -> None:
        """Confine the CALLING process, a freshly forked child, as stage `stage`.

        Stages count from 0 in the order in which they run: the compilation if there is
        one, then one for each case. Called before exec and, for stage 0, before the
        run is known. It returns when the process is in its cgroup, and is also the
        place for what only the program shall be under (its seccomp filter): the child
        still needs dup2, close_range, setrlimit for itself, chdir and execve after it,
        while the agent needs prlimit on its children. An exception ends the child and
        the run fails without having started.
        """

    def usage(self, stage: int) -> Usage | None:
        """Return what the stage used, or None where that is not visible.

        Called by the agent, several hundred times a second near a limit.
        """


@dataclass(frozen=True)
class Warm:
    """An interpreter to start ahead of the run (see runtimes.base.Prestart).

    `files` are written into a folder of their own, for which `{folder}` stands in
    `argv` and in the values of `env`. The interpreter takes over a run whose argument
    list starts with `command`.
    """

    key: str
    argv: Sequence[str]
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where the program lives in this sandbox.

    `scratch` is its working folder; `writable` names every other folder that it can
    write to (all are emptied between cases). `env` is its whole environment, to which
    a run may add. With `is_init` the agent is PID 1 of its own pid namespace and ends
    a stage by signalling every process there is.
    """

    scratch: str
    env: Mapping[str, str]
    writable: Sequence[str] = ()
    is_init: bool = True


@dataclass(frozen=True)
class Bounds:
    """What the agent allows itself and the program, apart from the run's limits.

    `output_total_bytes` is the hard total of both streams of a stage, past which the
    program is killed. An outcome is held for `linger_s` until it is acknowledged. An
    agent without a run ends after `idle_s` (None: never).
    """

    output_total_bytes: int = 64 * 1024 * 1024
    linger_s: float = 300.0
    idle_s: float | None = None


def serve(
    listener: socket.socket,
    confinement: Confinement,
    place: Place,
    *,
    warm: Warm | None = None,
    bounds: Bounds | None = None,
    token: str | None = None,
) -> NoReturn:
    """Be the agent: accept one run on `listener`, run it, hold its outcome; exit.

    Call it in the process that shall be the agent, after every change of uid, with all
    descriptors closed that the program must not share in any way; it marks itself
    non-dumpable, with no_new_privs, forks the launcher (or the interpreter `warm`) and
    then listens. `listener` is a listening stream socket, unix or TCP; with `token`, a
    follower must say hello with it first. Never returns; exit status 0 after the
    outcome was acknowledged, 1 when nobody came for it.
    """
    raise NotImplementedError
