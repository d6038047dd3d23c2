"""The process that jails are forked from, apart from the server that keeps them.

A fork write-protects every page of the process that forks, which then pays for each one
that it touches again: 300 page faults a jail in the server, and whatever the server has
to do meanwhile. This one does nothing but fork. Its jails are still the server's own
children (CLONE_PARENT): the server reaps them, and they die with it.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, NoReturn

from executions.sandbox import agent, cgroups, jail, linux
from executions.sandbox.networks import Networks
from executions.sandbox.rehearsal import Rehearsal

_MESSAGE_BYTES: Final = 1024
_ANSWER_TIMEOUT_S: Final = 5.0
_END_TIMEOUT_S: Final = 1.0
_END_PAUSE_S: Final = 0.001
_MOST_DESCRIPTORS: Final = 32
_IDLE_MS: Final = 5
"""How long nobody has to ask for a jail before a moment is used for a rehearsal."""


class ZygoteLost(OSError):
    """It ended or fell silent over a jail. That one ends too, once the caller closes
    the other end of its control socket: ask for another, made anew."""


class Mould(NamedTuple):
    """What all jails of one server have in common."""

    rootless: bool
    cgroup_version: int
    home: Sequence[int]
    warm: Mapping[str, agent.Warm]
    bounds: agent.Bounds


class Cast(NamedTuple):
    """What one jail has for itself; `prestart` names one of the mould's, or none.

    No other living jail has its `slot`.
    """

    uid: int
    slot: int
    prestart: str
    control: socket.socket
    mount_fd: int
    stage: cgroups.StageFiles | None


class Zygote:
    """The server's end of it; the process is started when a jail is first asked for."""

    def __init__(self, mould: Mould) -> None:
        self._mould = mould
        self._socket: socket.socket | None = None
        self._pid = 0

    def start(self, cast: Cast) -> int:
        """Start a jail; return the pid of its first process, a child of the caller.

        The caller's descriptors stay its own to close. Raises ZygoteLost when it is
        unknown whether there is a jail now, and OSError.
        """
        try:
            self._tell(cast)
        except OSError:
            # It had ended before it heard of this one.
            self.end()
            self._tell(cast)
        try:
            return self._answer()
        except (ConnectionError, TimeoutError) as error:
            # It was killed or stopped; what it says later must not be heard.
            self.end()
            raise ZygoteLost(errno.ECHILD, "the zygote was lost") from error

    def end(self) -> None:
        """Let it end; what it rehearses has ended then, too, unless it hangs."""
        if self._socket is None:
            return
        self._socket.close()
        self._socket = None
        deadline = time.monotonic() + _END_TIMEOUT_S
        while time.monotonic() < deadline:
            if os.waitpid(self._pid, os.WNOHANG)[0]:
                return
            time.sleep(_END_PAUSE_S)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _tell(self, cast: Cast) -> None:
        connection = self._socket or self._fork()
        enter, usage = cast.stage or ((), ())
        descriptors = [cast.control.fileno(), cast.mount_fd, *enter, *usage]
        words = f"{cast.uid} {cast.slot} {len(enter)} {cast.prestart}"
        socket.send_fds(connection, [words.encode()], descriptors)

    def _answer(self) -> int:
        words = self._socket.recv(_MESSAGE_BYTES) if self._socket else b""
        number, _, problem = words.decode().partition(" ")
        if not number:
            raise ConnectionError("the zygote has ended")
        if problem:
            code, _, what = problem.partition(" ")
            raise OSError(int(code), os.strerror(int(code)), what)
        return int(number)

    def _fork(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            try:
                _serve(theirs, self._mould)
            finally:
                os._exit(70)
        theirs.close()
        ours.settimeout(_ANSWER_TIMEOUT_S)
        self._socket, self._pid = ours, pid
        return ours


def _serve(server: socket.socket, mould: Mould) -> NoReturn:
    linux.die_with_parent(signal.SIGKILL)
    linux.set_command_line("sandbox zygote")
    # Nothing of the server's: whoever waits for one of its ends would wait for us too.
    linux.close_ranges(linux.gaps_between([0, 1, 2, server.fileno(), *mould.home]))
    signal.set_wakeup_fd(-1)
    networks = _networks()
    rehearsal = Rehearsal(mould.cgroup_version)
    if isinstance(networks, OSError):
        rehearsal.left = 0  # not in the host's network
    poll = select.poll()  # select() cannot have descriptors above 1023
    poll.register(server, select.POLLIN)
    while True:
        while rehearsal.left and not poll.poll(_IDLE_MS):
            rehearsal.go_on()
        words, descriptors = linux.receive_fds(
            server, _MESSAGE_BYTES, _MOST_DESCRIPTORS
        )
        if not words:
            os._exit(0)
        try:
            if isinstance(networks, OSError):
                raise networks
            answer = str(_start(words, descriptors, mould, networks))
        except OSError as error:
            answer = f"0 {error.errno} {error.filename or ''}"
        server.send(answer.encode())


def _networks() -> Networks | OSError:
    """Return the networks, or the error for whoever wants a jail."""
    try:
        return Networks()
    except OSError as error:
        return error


def _start_in(networks: Networks, slot: int, plan: jail.Plan) -> int:
    try:
        networks.enter(slot)
        return jail.start(plan)
    finally:
        try:
            networks.leave()
        except OSError:
            os._exit(70)  # it must not stay where a program is


def _start(
    words: bytes, descriptors: list[int], mould: Mould, networks: Networks
) -> int:
    uid, slot, count, prestart = words.decode().split(" ")
    # Its kind is known, which spares asking for it.
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, descriptors[0])
    mount_fd, *files = descriptors[1:]
    stage = cgroups.StageFiles(files[: int(count)], files[int(count) :])
    plan = jail.Plan(
        identity=jail.Identity(int(uid), mould.rootless),
        control=control,
        mount_fd=mount_fd,
        cgroup_version=mould.cgroup_version,
        stage=stage if files else None,
        home=mould.home,
        warm=mould.warm.get(prestart),
        bounds=mould.bounds,
    )
    try:
        with control:
            if mould.rootless:
                return jail.start(plan)
            return _start_in(networks, int(slot), plan)
    finally:
        for descriptor in descriptors[1:]:
            os.close(descriptor)
