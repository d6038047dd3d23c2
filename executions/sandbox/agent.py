"""PID 1 of every sandbox: runs one program and tells a follower about it.

Standard library only (with accepted, capture, followers, launcher, protocol, scratch
and supervisor beside it), so that it runs in any image that has Python. Single-threaded
and small, as a zygote forks it.
"""

from __future__ import annotations

# Both modules' C parts alone; see launcher.
import _signal  # type: ignore[import-not-found] # typeshed has no stub
import _socket
import contextlib
import ctypes
import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, NoReturn, Protocol

from executions.sandbox import launcher, scratch
from executions.sandbox.accepted import Run, unpack
from executions.sandbox.followers import Connection
from executions.sandbox.launcher import CannotStart, Child, Place, Warm
from executions.sandbox.protocol import (
    MAX_CHUNK_BYTES,
    STDIN_WINDOW_BYTES,
    TO_AGENT,
    VERSION,
    Decoder,
    Frame,
    ProtocolError,
    encode,
)
from executions.sandbox.supervisor import Stage, Supervision, Usage, kill_all, reap

__all__ = ["Bounds", "Confinement", "Place", "Usage", "Warm", "serve"]

_COALESCE_S = 0.005
"""How long news wait for more: a short program's all go out in one piece."""
_COALESCE_INTERACTIVE_S = 0.001
_REAP_EVERY_S = 0.002
_HELLO_TIMEOUT_S = 10.0
_MAX_CONNECTIONS = 8
_RECEIVE_BYTES = 64 * 1024

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
# Looked up once, before any fork: this and enums' signals were 85 of the page faults
# of an agent's start.
_prctl = ctypes.CDLL(None, use_errno=True).prctl
# As plain numbers: what is an enum's passes through Python code.
_SIGCHLD = int(signal.SIGCHLD)
_SIGINT = int(signal.SIGINT)
_SIGPIPE = int(signal.SIGPIPE)
_SIGTERM = int(signal.SIGTERM)
_TCP_FAMILIES = (int(socket.AF_INET), int(socket.AF_INET6))


_READY = encode("ready", {"version": VERSION})


class Confinement(Protocol):
    """What surrounds the program: the agent's only way to cgroups and the like."""

    samples_memory: bool
    """Whether only what usage() tells, every 50 ms, holds a stage to its memory."""

    def place(self, stage: int) -> None:
        """Confine the CALLING process, a freshly forked child, as stage `stage`.

        Stages count from 0 in the order in which they run: the compilation if there is
        one, then one for each case. Called before anything of the program is there
        and, for stage 0, before the run is known. It returns when the process is in
        its cgroup. An exception ends the child, and the run fails without having
        started.
        """

    def within(self, stage: int) -> AbstractContextManager[None]:
        """Confine the agent itself as stage `stage` while the block lasts.

        What it starts in it counts as the stage's from its first page on.
        """

    def usage(self, stage: int) -> Usage | None:
        """Return what the stage used, or None where that is not visible.

        Called by the agent, up to 500 times a second near a limit.
        """

    def shrink_scratch(self, size_bytes: int) -> None:
        """Let all files together take this much, or what they take already, if more.

        Called between the compilation and the first case: the sandbox was made large
        enough for both. Raises OSError.
        """


class Door(Protocol):
    """Where followers come in."""

    def fileno(self) -> int:
        """Return what poll() tells to be readable when there is somebody."""

    def accept(self) -> _socket.socket | None:
        """Return the next one's stream socket, or None without waiting for any.

        Raises EOFError when nobody can ever come: the agent ends.
        """


class Listener:
    """A Door that anybody can come through who can reach the socket."""

    def __init__(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listener = listener

    def fileno(self) -> int:
        return self._listener.fileno()

    def accept(self) -> _socket.socket | None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return None
        return connection


class Bounds(NamedTuple):
    """What the agent allows itself and the program, apart from the run's limits.

    `output_total_bytes` is the hard total of both streams of a stage, past which the
    program is killed; `held_bytes` bounds the output and the copy of a build that the
    agent holds for one run (a run that could need more is refused). An outcome is held
    for `linger_s` until it is acknowledged. An agent without a run ends after `idle_s`
    (None: never). From a stage's start on news wait for `coalesce_start_s` for more:
    most programs have ended by then. Once its outcome was acknowledged it stays for
    `rest_s` or until SIGTERM, and does nothing: what is taken away soon need not end
    first.
    """

    output_total_bytes: int = 64 * 1024 * 1024
    held_bytes: int = 256 * 1024 * 1024
    linger_s: float = 300.0
    idle_s: float | None = None
    coalesce_start_s: float = 0.1
    rest_s: float = 0.0


def serve(  # noqa: PLR0913 - one call, by keyword, from each kind of sandbox
    door: Door,
    confinement: Confinement,
    place: Place,
    *,
    warm: Warm | None = None,
    bounds: Bounds | None = None,
    token: str | None = None,
    lifeline: int | None = None,
    may_begin: int | None = None,
) -> NoReturn:
    """Be the agent: accept one run at `door`, run it, hold its outcome; exit.

    Call it in the process that shall be the agent, after every change of uid, with all
    descriptors closed that the program must not share in any way; it marks itself
    non-dumpable, with no_new_privs, forks the launcher (or the interpreter `warm`) and
    then opens the door. With `token`, a follower must say hello with it first. With
    `lifeline`, a descriptor, everything ends when its other end is closed. With
    `may_begin`, a descriptor, a run is only laid out and its follower not greeted
    before that can be read.
    Never returns; exit status 0 after the outcome was acknowledged, 1 when nobody came
    for it.
    """
    if place.is_init and os.getpid() != 1:
        raise RuntimeError("the agent is not PID 1 of its namespace")
    _harden()
    # An interpreter is started with whatever may be inherited.
    for descriptor in (door.fileno(), lifeline, may_begin):
        if descriptor is not None:
            os.set_inheritable(descriptor, False)
    agent = Agent(door, confinement, place, warm, bounds or Bounds(), token)
    if lifeline is not None:
        agent.watch(lifeline, select.POLLIN, agent.end)
    if may_begin is not None:
        agent.hold_until(may_begin)
    agent.run_forever()
    agent.rest()
    os._exit(agent.exit_status)


def _harden() -> None:
    """Be out of the program's reach: it has the same uid."""
    # A change of uid has made /proc/self root's; the score is ours once more, briefly.
    _prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        launcher.OOM_SCORE_FD[:] = [descriptor]
    except OSError:
        pass
    if _prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) or _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl failed")
    # PID 1 ignores the signals that it has no handler for; Python's own are removed.
    _signal.signal(_SIGINT, _signal.SIG_DFL)
    _signal.signal(_SIGPIPE, _signal.SIG_IGN)
    while (descriptor := os.open("/dev/null", os.O_RDWR)) <= 2:  # noqa: PLR2004
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    os.umask(0o022)


class Agent:
    """The event loop, its followers and its run."""

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        door: Door,
        confinement: Confinement,
        place: Place,
        warm: Warm | None,
        bounds: Bounds,
        token: str | None,
    ) -> None:
        self.exit_status = 1
        self._door = door
        self._confinement = confinement
        self._place = place
        self._bounds = bounds
        self._token = token
        self._poll = select.poll()
        self._ready: dict[int, Callable[[], object]] = {}
        self._watched: dict[int, int] = {}
        self._connections: dict[int, Connection] = {}
        self._follower: Connection | None = None
        self._run: Run | None = None
        self._is_held = False
        self._held_stage: tuple[Run, Stage, CannotStart | None] | None = None
        self._is_ending = False
        self._flush_at = math.inf
        self._reap_at = math.inf
        self._end_at = math.inf
        if bounds.idle_s is not None:
            self._end_at = time.monotonic() + bounds.idle_s
        self._watch_children()
        self._child: Child | None = launcher.spawn(confinement, place, 0, warm=warm)
        self.watch(door.fileno(), select.POLLIN, self._accept)

    # --- the loop --------------------------------------------------------------------

    def watch(self, fd: int, events: int, ready: Callable[[], object]) -> None:
        """Call `ready` whenever `fd` has one of `events`, until unwatch()."""
        if self._watched.get(fd) != events:
            self._poll.register(fd, events)
            self._watched[fd] = events
        self._ready[fd] = ready

    def unwatch(self, fd: int) -> None:
        if fd in self._watched:
            self._poll.unregister(fd)
            del self._watched[fd], self._ready[fd]

    def hold_until(self, fd: int) -> None:
        """Greet nobody, and begin no run, before `fd` can be read."""

        def let_go() -> None:
            self.unwatch(fd)
            self._is_held = False
            for connection in self._connections.values():
                if connection.is_known:
                    self._greet(connection)
            if self._held_stage is not None:
                self._start_stage(*self._held_stage)

        self._is_held = True
        self.watch(fd, select.POLLIN, let_go)

    def end(self) -> None:
        """Leave the loop at its next turn."""
        self._is_ending = True

    def run_forever(self) -> None:
        while not self._is_ending:
            self._turn()
        if (current := self._current) is not None:
            current.cancel()
        kill_all(is_init=self._place.is_init)

    def rest(self) -> None:
        """Wait to be taken away, if that is to come: nothing is left to run or tell."""
        if self.exit_status or not self._bounds.rest_s:
            return
        # Without a handler PID 1 would not get it; the program is gone by now.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, (_SIGTERM,))
        self.close()
        os.close(self._door.fileno())
        signal.sigtimedwait((_SIGTERM,), self._bounds.rest_s)

    def close(self) -> None:
        """Let go of all but what serve() was given; for a process that lives on."""
        kill_all(is_init=self._place.is_init)
        signal.set_wakeup_fd(-1)
        _signal.signal(_SIGCHLD, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_SIGCHLD,))
        for connection in list(self._connections.values()):
            self._drop(connection)
        if self._child is not None:
            self._child.close()
        for descriptor in self._bell:
            os.close(descriptor)
        self._ready.clear()

    def _turn(self) -> None:
        timeout = self._wake_at() - time.monotonic()
        # Rounded up: a turn that comes a moment too early would come again and again.
        wait_ms = None if timeout == math.inf else max(0, math.ceil(timeout * 1000))
        for fd, _ in self._poll.poll(wait_ms):
            if (ready := self._ready.get(fd)) is not None:
                ready()
        now = time.monotonic()
        if now >= self._reap_at:
            self._reap()
        while (current := self._current) is not None:
            current.tick(now)
            if not current.is_over:
                break
            self._finish_stage(current)
        self._drop_silent(now)
        if now >= self._flush_at:
            self._flush()
        if now >= self._end_at:
            self.end()

    def _wake_at(self) -> float:
        current = self._current
        stage_at = current.wake_at() if current is not None else math.inf
        at = min(stage_at, self._flush_at, self._reap_at, self._end_at)
        for connection in self._connections.values():
            if not connection.is_following:
                at = min(at, connection.connected_at + _HELLO_TIMEOUT_S)
        return at

    @property
    def _current(self) -> Supervision | None:
        return self._run.current if self._run is not None else None

    # --- children --------------------------------------------------------------------

    def _watch_children(self) -> None:
        self._bell = reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        _signal.signal(_SIGCHLD, _ignore)

        def ready() -> None:
            os.read(reader, 4096)
            self._reap()

        self.watch(reader, select.POLLIN, ready)

    def _reap(self) -> None:
        """Collect the ended children, at most once in 2 ms.

        A program can let thousands of orphans a second end here. Until the next time
        the signal is blocked, so that they cost the agent, which is outside of the
        program's cgroup, next to nothing.
        """
        now = time.monotonic()
        ended: list[tuple[int, int]] = []
        has_more = reap(ended)
        current = self._current
        for pid, status in ended:
            if current is not None:
                current.reaped(pid, status)
        if ended and has_more:
            _signal.pthread_sigmask(_signal.SIG_BLOCK, (_SIGCHLD,))
            self._reap_at = now + _REAP_EVERY_S
        elif self._reap_at != math.inf:
            self._reap_at = math.inf
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_SIGCHLD,))

    # --- followers -------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            sock = self._door.accept()
        except EOFError:
            self.end()
            return
        if sock is None:
            return
        sock.setblocking(False)
        if sock.family in _TCP_FAMILIES:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if len(self._connections) >= _MAX_CONNECTIONS:
            strangers = [c for c in self._connections.values() if not c.is_following]
            self._drop(min(strangers, key=lambda c: c.connected_at))
        connection = Connection(sock, is_known=self._token is None)
        if not connection.is_known:
            connection.decoder = Decoder(TO_AGENT, is_stranger=True)
        else:
            self._greet(connection)
        self._connections[connection.fd] = connection
        self.watch(connection.fd, select.POLLIN, lambda: self._receive(connection))

    def _greet(self, connection: Connection) -> None:
        if self._is_held:
            return
        connection.out += _READY
        self._news_within(self._bounds.coalesce_start_s)

    def _drop_silent(self, now: float) -> None:
        for connection in list(self._connections.values()):
            is_late = now > connection.connected_at + _HELLO_TIMEOUT_S
            if is_late and not connection.is_following:
                self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self.unwatch(connection.fd)
        self._connections.pop(connection.fd, None)
        if self._follower is connection:
            self._follower = None
        connection.sock.close()

    def _refuse(self, connection: Connection, code: str, message: str) -> None:
        """Send an error as the last frame, as far as that goes at once, and hang up."""
        connection.out += encode("error", {"code": code, "message": message})
        with contextlib.suppress(OSError):
            connection.sock.send(connection.out)
        self._drop(connection)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            data = None
        except OSError:
            data = b""
        if data == b"":
            self._drop(connection)
            return
        try:
            for frame in connection.decoder.feed(data) if data else ():
                self._obey(connection, frame)
                if connection.fd not in self._connections:
                    return
        except ProtocolError as error:
            code = "bad_frame" if connection.is_known else "unauthorized"
            self._refuse(connection, code, str(error))
            return

    def _obey(self, connection: Connection, frame: Frame) -> None:
        if not connection.is_known:
            self._obey_hello(connection, frame)
        elif frame.kind == "run":
            self._obey_run(connection, frame)
        elif frame.kind == "attach":
            self._obey_attach(connection, frame.header["key"], frame.header["seen"])
            self.news()
        elif frame.kind == "hello":
            return
        elif connection is not self._follower or self._run is None:
            raise ProtocolError(f"{frame.kind} before run or attach")
        else:
            self._obey_follower(connection, self._run, frame)

    def _obey_hello(self, connection: Connection, frame: Frame) -> None:
        import hmac  # noqa: PLC0415 - a library that jails, without a token, do without

        told = frame.header.get("token", "") if frame.kind == "hello" else ""
        expected = (self._token or "").encode()
        if not hmac.compare_digest(told.encode("utf-8", "replace"), expected):
            self._refuse(connection, "unauthorized", "wrong token")
            return
        connection.is_known = True
        connection.decoder.allow(TO_AGENT)
        self._greet(connection)

    def _obey_attach(
        self, connection: Connection, key: str, seen: list[list[int]]
    ) -> None:
        if self._run is None:
            # Its owner was given up: it must not start the run any more.
            self._refuse(connection, "no_run", "it was never started, nor will it be")
            self.end()
            return
        if self._run.key != key:
            self._refuse(connection, "unknown_key", "no such run here")
            return
        if self._follower is not None and self._follower is not connection:
            self._refuse(self._follower, "replaced", "another follower attached")
        self._follower = connection
        connection.follow(seen)

    def _obey_follower(self, connection: Connection, run: Run, frame: Frame) -> None:
        current = run.current
        if frame.kind == "stdin":
            connection.stdin_received += len(frame.body)
            self._take_stdin(run, frame.body)
        elif frame.kind == "close_stdin":
            run.is_stdin_ended = True
            if current is not None and current.stage.is_interactive:
                current.close_stdin()
        elif frame.kind == "signal":
            if current is not None:
                current.signal(frame.header["number"])
        elif frame.kind == "cancel":
            run.is_cancelled = True
            if current is not None:
                current.cancel()
        elif frame.kind == "ack":
            if not run.is_complete:
                raise ProtocolError("ack before the result")
            self.exit_status = 0
            self.end()

    # --- the run ---------------------------------------------------------------------

    def _obey_run(self, connection: Connection, frame: Frame) -> None:
        key = frame.header["key"]
        if self._run is not None:
            if self._run.key == key:
                self._obey_attach(connection, key, [])
                self.news()
            else:
                self._refuse(connection, "busy", "this sandbox has a run already")
            return
        if (complaint := self._complaint(frame)) is not None:
            self._refuse(connection, "bad_run", complaint)
            return
        self._end_at = math.inf
        self._run, files = unpack(frame)
        self._run.is_interactive = frame.header["interactive"]
        self._obey_attach(connection, key, [])
        self._begin(self._run, files, frame.header["prestart"])

    def _complaint(self, frame: Frame) -> str | None:
        header = frame.header
        sizes = sum(file["size"] for file in header["files"])
        sizes += sum(case["stdin_bytes"] for case in header["cases"])
        if sizes != len(frame.body):
            return "the sizes do not add up to the body"
        if not header["cases"]:
            return "there is no case"
        held = 2 * header["run"]["limits"]["output_bytes"] * len(header["cases"])
        if header["compile"] is not None:
            held += 2 * header["compile"]["limits"]["output_bytes"]
        if held > self._bounds.held_bytes:
            return f"the output could exceed {self._bounds.held_bytes} bytes in all"
        return None

    def _begin(
        self, run: Run, files: list[tuple[str, bytes]], prestart: str | None
    ) -> None:
        child = self._child
        stage = next(run.waiting)
        failure: CannotStart | None = None
        if child is not None and child.warm is not None:
            warm = child.warm
            is_usable = warm.key == prestart and launcher.is_for(
                warm, stage.argv, stage.env, self._place.env
            )
            if not is_usable or not _is_alive(child):
                self._discard_child()
        try:
            scratch.write(self._place.scratch, files)
        except OSError as error:
            failure = CannotStart(
                f"the files do not fit into the scratch folder: {error.strerror}",
                is_program_fault=True,
            )
        begun = (run, stage, failure or self._renew_scratch(run, stage))
        if self._is_held:
            self._held_stage = begun
        else:
            self._start_stage(*begun)

    def _discard_child(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None
        kill_all(is_init=self._place.is_init)

    def _start_stage(
        self, run: Run, stage: Stage, failure: CannotStart | None = None
    ) -> None:
        supervision = Supervision(
            stage,
            self,
            self._confinement,
            output_total_bytes=self._bounds.output_total_bytes,
            is_init=self._place.is_init,
        )
        run.stages.append(supervision)
        if failure is None and run.is_cancelled:
            supervision.cancel()
        elif failure is not None:
            supervision.fail(failure)
        else:
            child, self._child = self._child, None
            if child is None:
                child = launcher.spawn(self._confinement, self._place, stage.n)
            place = self._place
            has_nproc = place.has_own_uid and not place.counts_processes
            supervision.start(child, place.env, nproc=has_nproc)
            if place.is_init and stage.n + 1 < run.count:
                # Entering a cgroup can take the kernel 10 ms and more: not later.
                with contextlib.suppress(OSError):
                    self._child = launcher.spawn(
                        self._confinement, place, stage.n + 1, running=child
                    )
            if stage.is_interactive:
                self._take_stdin(run, b"")
        if stage.is_interactive or supervision.is_over:
            self.news()
        else:
            self._news_within(self._bounds.coalesce_start_s)

    def _take_stdin(self, run: Run, data: bytes) -> None:
        """Keep live input until its stage runs; hand on what there is."""
        if not run.is_interactive:
            self.news()  # dropped, which counts as taken
            return
        run.stdin += data
        current = run.current
        if current is not None and current.stage.is_interactive:
            current.give_stdin(bytes(run.stdin))
            run.stdin.clear()
            if run.is_stdin_ended:
                current.close_stdin()
        elif run.is_complete:
            run.stdin.clear()
        waiting = len(run.stdin) + (current.stdin_waiting_bytes if current else 0)
        if waiting > 2 * STDIN_WINDOW_BYTES + MAX_CHUNK_BYTES:
            raise ProtocolError("more input than the window allows")

    def _finish_stage(self, supervision: Supervision) -> None:
        run = self._run
        if run is None:
            return
        result = supervision.finish(self._child)
        if self._child is not None:
            if _is_alive(self._child):
                # Whoever stopped it is dead now.
                os.kill(self._child.pid, signal.SIGCONT)
            else:
                self._child.close()
                self._child = None
        run.results.append(result)
        has_built = result["end"] == "exited" and result["exit_code"] == 0
        is_last = (result["stage"] == "compile" and not has_built) or run.is_cancelled
        stage = None if is_last else next(run.waiting, None)
        if stage is None:
            run.is_complete = True
            run.stdin.clear()
            self._end_at = time.monotonic() + self._bounds.linger_s
            self._flush_at = 0.0
            return
        self._start_stage(run, stage, self._renew_scratch(run, stage))

    def _renew_scratch(self, run: Run, stage: Stage) -> CannotStart | None:
        """Give each case the folder as it was before the first one, in its limits."""
        place = self._place
        try:
            if stage.case == 0 and run.stages:
                self._confinement.shrink_scratch(stage.limits["scratch_bytes"])
            if run.cases == 1 or stage.case is None:
                return None
            if stage.case == 0:
                run.build = scratch.copy(
                    place.scratch,
                    max_bytes=self._bounds.held_bytes // 4,
                    max_entries=10_000,
                )
            else:
                for folder in (place.scratch, *place.writable):
                    scratch.empty(folder)
                scratch.restore(place.scratch, run.build)
        except scratch.CannotKeep as error:
            return CannotStart(str(error), is_program_fault=True)
        except OSError as error:
            return CannotStart(f"the scratch folder: {error.strerror}")
        return None

    # --- to the follower -------------------------------------------------------------

    def news(self) -> None:
        """There is something for the followers; more may come in a moment."""
        current = self._current
        if current is None:
            self._news_within(_COALESCE_S)
        elif current.stage.is_interactive:
            self._news_within(_COALESCE_INTERACTIVE_S)
        else:
            self._news_within(
                _COALESCE_S, current.started_at + self._bounds.coalesce_start_s
            )

    def _news_within(self, delay_s: float, not_before: float = 0.0) -> None:
        at = max(time.monotonic() + delay_s, not_before)
        self._flush_at = min(self._flush_at, at)

    def _flush(self) -> None:
        self._flush_at = math.inf
        for connection in list(self._connections.values()):
            self._send(connection)

    def _send(self, connection: Connection) -> None:
        """Send what there is and can be sent; watch for room when there is more."""
        if connection is self._follower and self._run is not None:
            connection.fill(self._run)
        while connection.out:
            try:
                sent = connection.sock.send(connection.out)
            except BlockingIOError:
                break
            except OSError:
                self._drop(connection)
                return
            del connection.out[:sent]
            if connection is self._follower and self._run is not None:
                connection.fill(self._run)
        if connection.out:
            both = select.POLLIN | select.POLLOUT
            self.watch(connection.fd, both, lambda: self._exchange(connection))
        else:
            self.watch(connection.fd, select.POLLIN, lambda: self._receive(connection))

    def _exchange(self, connection: Connection) -> None:
        self._receive(connection)
        if connection.fd in self._connections:
            self._send(connection)


def _ignore(*_: object) -> None:
    """Handle a signal that is only to wake the loop."""


def _is_alive(child: Child) -> bool:
    try:
        return os.waitpid(child.pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False
