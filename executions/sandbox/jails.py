"""The backend that runs programs in jails on this machine.

Keeps a fork server running (see forkserver.py) and speaks to the agents in its jails.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from executions import runtimes
from executions.runtimes import build, bytecode
from executions.runtimes.base import PREPARED, Prestart
from executions.sandbox import forkserver, linux
from executions.sandbox.base import (
    NoSandboxNow,
    RunSpec,
    SandboxError,
    SandboxGone,
    SandboxUnavailable,
    Session,
    Wanted,
    always,
)
from executions.sandbox.jailpool import Config
from executions.sandbox.locks import UIDS_OF_A_BLOCK
from executions.sandbox.session import AgentSession

__all__ = ["Config", "JailBackend", "from_settings"]

_START_TIMEOUT_S: Final = 20.0
_FIRST_JAIL_TIMEOUT_S: Final = 5.0
_ANSWER_TIMEOUT_S: Final = 5.0
_TAKE_TIMEOUT_S: Final = 60.0
_LONGEST_SOCKET_PATH: Final = 100
_HANDING: Final = ("take", "attach")
"""What is answered with a connection to an agent."""
# What the fork server sees of the host's environment.
_CLEAN_ENVIRONMENT: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from executions.sandbox import forkserver; forkserver.main()"
)


def from_settings(settings: Any) -> JailBackend:
    """Return the backend that the SANDBOX_ settings describe."""
    read_only = list(runtimes.paths())
    # Made now: what is prepared in it later appears in the jails of this very server.
    Path(settings.SANDBOX_PREPARED_DIR).mkdir(parents=True, exist_ok=True)
    read_only.append(f"{settings.SANDBOX_PREPARED_DIR}:{PREPARED}")
    prestarts = bytecode.added_to(build.prestarts(settings.RUN_DEFAULT))
    config = Config(
        max_jails=settings.SANDBOX_MAX_JAILS,
        warm=settings.SANDBOX_WARM,
        read_only=tuple(read_only),
        uid_base=settings.SANDBOX_UID_BASE,
        cgroup=settings.SANDBOX_CGROUP,
        allow_unenforced=settings.SANDBOX_ALLOW_UNENFORCED_LIMITS,
        linger_s=settings.SANDBOX_LINGER_S,
        usual_memory_bytes=settings.RUN_DEFAULT.memory_bytes,
        usual_processes=settings.RUN_DEFAULT.max_processes,
        usual_scratch_bytes=settings.RUN_DEFAULT.scratch_bytes,
    )
    return JailBackend(settings.SANDBOX_STATE_DIR, config, prestarts)


class JailBackend:
    """Runs programs in jails of a fork server that it shares with other workers.

    `state` is the installation's folder for sockets and locks. The server is started
    when first needed. Safe to use from many threads.
    """

    def __init__(
        self,
        state: str | os.PathLike[str],
        config: Config | None = None,
        prestarts: Iterable[Prestart] = (),
    ) -> None:
        self._state = Path(state).resolve()
        self._config = (config or Config())._replace(
            prestarts={prestart.key: asdict(prestart) for prestart in prestarts},
        )
        if not 1 <= self._config.max_jails <= UIDS_OF_A_BLOCK:
            raise ValueError(f"max_jails must be from 1 to {UIDS_OF_A_BLOCK}")
        self._name = forkserver.server_name(self._config)
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._closed = False
        # One stays open, so that the server knows somebody uses it.
        self._anchor: _Connection | None = None
        _make_private(self._state)
        self.scope = f"jails:{_installation(self._state)}"

    def start(self, spec: RunSpec, is_wanted: Wanted = always) -> Session:
        try:
            answer = self._ask(self._wish(spec), timeout_s=_TAKE_TIMEOUT_S)
        except _NoAnswer as error:
            self.discard(spec.key)
            raise NoSandboxNow(str(error)) from error
        try:
            return AgentSession.start(
                answer["agent"], spec, unenforced=answer["unenforced"]
            )
        except SandboxUnavailable as error:
            self.discard(spec.key)
            raise SandboxUnavailable(f"the jail ended at once: {error}") from error

    def _wish(self, spec: RunSpec) -> dict[str, Any]:
        prestart = self._config.prestarts.get(spec.prestart or "", {})
        command = tuple(prestart.get("command", ()))
        # An interpreter that was started otherwise is left for whom it fits.
        fits = spec.run.argv[: len(command)] == command
        return {**_wish(spec), "prestart": spec.prestart if fits else None}

    def discard(self, key: str) -> None:
        request = {"op": "give_back", "key": key}
        for _ in self._ask_others(request):
            pass
        with contextlib.suppress(SandboxError):
            self._ask(request, timeout_s=_ANSWER_TIMEOUT_S)

    def held(self) -> list[str]:
        request = {"op": "held"}
        keys = [key for answer in self._ask_others(request) for key in answer["keys"]]
        return [*keys, *self._ask(request, timeout_s=_ANSWER_TIMEOUT_S)["keys"]]

    def attach(self, key: str, is_wanted: Wanted = always) -> Session:
        answer = self._find(key)
        return AgentSession.attach(
            answer["agent"], key, unenforced=answer["unenforced"]
        )

    def problems(self) -> list[str]:
        deadline = time.monotonic() + _FIRST_JAIL_TIMEOUT_S
        try:
            while True:
                status = self.status()
                if status["problem"]:
                    return [status["problem"]]
                if any(status["warm"].values()) or status["running"]:
                    return []
                if not self._config.warm or time.monotonic() > deadline:
                    return []
                time.sleep(0.02)
        except SandboxError as error:
            return [str(error)]

    def status(self) -> dict[str, Any]:
        """Return the fork server's counts of jails, and its pid."""
        return self._ask({"op": "status"}, timeout_s=_ANSWER_TIMEOUT_S)

    def close(self) -> None:
        """Let go of the fork server, which ends at once if nothing runs in it."""
        with self._lock:
            self._closed = True
            anchor, self._anchor = self._anchor, None
            connections, self._idle = self._idle, []
        for connection in connections:
            connection.close()
        if anchor is not None:
            with contextlib.suppress(SandboxError, OSError):
                anchor.ask({"op": "leave"}, _ANSWER_TIMEOUT_S)
            anchor.close()

    @property
    def _folder(self) -> Path:
        return self._state / self._name

    def _find(self, key: str) -> dict[str, Any]:
        """Ask every fork server here: one of older code may still run that key.

        Each that does not have it will refuse to start it. Raises SandboxUnavailable
        when one lives that does not say so: the run may be there.
        """
        request = {"op": "attach", "key": key}
        for found in self._ask_others(request, passed_over=_ServerEnded):
            return found
        return self._ask(request, timeout_s=_ANSWER_TIMEOUT_S)

    def _ask_others(
        self,
        request: Mapping[str, Any],
        *,
        passed_over: type[SandboxUnavailable] = SandboxUnavailable,
    ) -> Iterator[dict[str, Any]]:
        """Ask the fork servers of other code; yield what those say that can.

        Raises what is unavailable but not `passed_over`.
        """
        for folder in self._other_servers():
            with (
                contextlib.suppress(OSError, passed_over, SandboxGone),
                contextlib.closing(_Connection(folder)) as connection,
            ):
                yield connection.ask(request, _ANSWER_TIMEOUT_S)

    def _other_servers(self) -> Iterator[Path]:
        for entry in sorted(self._state.iterdir()):
            if entry.name != self._name and (entry / forkserver.SOCKET_NAME).exists():
                yield entry

    def _ask(self, request: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        try:
            return self._ask_once(request, timeout_s)
        except _ServerEnded:
            # With the server its jails ended, so nothing is done twice.
            return self._ask_once(request, timeout_s)

    def _ask_once(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        connection = self._connection()
        try:
            answer = connection.ask(request, timeout_s)
        except SandboxError:
            if connection.usable:
                self._put_back(connection)
            else:
                connection.close()
            raise
        self._put_back(connection)
        return answer

    def _put_back(self, connection: _Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _connection(self) -> _Connection:
        with self._lock:
            while self._idle:
                connection = self._idle.pop()
                if connection.is_open():
                    return connection
                connection.close()
            if self._closed:
                raise SandboxUnavailable("this backend was closed")
            if self._anchor is None or not self._anchor.is_open():
                self._anchor = self._reach_server()
            try:
                return _Connection(self._folder)
            except OSError as error:
                raise SandboxUnavailable(f"the fork server is gone: {error}") from error

    def _reach_server(self) -> _Connection:
        """Connect to the fork server, started if there is none."""
        with contextlib.suppress(OSError):
            return _Connection(self._folder)
        with _locked(self._state / "start.lock"):
            with contextlib.suppress(OSError):
                return _Connection(self._folder)
            self._start_server()
            try:
                return _Connection(self._folder)
            except OSError as error:
                raise SandboxUnavailable(f"the fork server ended: {error}") from error

    def _start_server(self) -> None:
        request = {
            "config": self._config._asdict(),
            "state": str(self._state),
            "name": self._name,
        }
        root = Path(__file__).resolve().parents[2]
        interpreter = getattr(sys, "_base_executable", None) or sys.executable
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with (self._folder / forkserver.LOG_NAME).open("ab") as log:
            server = subprocess.Popen(  # noqa: S603 - our own code
                [interpreter, "-I", "-S", "-c", _BOOT, str(root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_CLEAN_ENVIRONMENT,
                cwd="/",
            )
        report = _first_word(server, json.dumps(request).encode())
        if "problem" in report:
            raise SandboxUnavailable(report["problem"])


def _wish(spec: RunSpec) -> dict[str, Any]:
    """Return what the fork server has to know of a run."""
    stages = [(spec.run.limits, len(spec.cases))]
    if spec.compile is not None:
        stages.insert(0, (spec.compile.limits, 1))
    return {
        "op": "take",
        "key": spec.key,
        "stages": [
            {
                "count": count,
                "memory_bytes": limits.memory_bytes,
                "max_processes": limits.max_processes,
            }
            for limits, count in stages
        ],
        "scratch_bytes": max(limits.scratch_bytes for limits, _ in stages),
        "wall_s": sum(limits.wall_time_ms * count for limits, count in stages) / 1000,
    }


def _first_word(server: subprocess.Popen[bytes], request: bytes) -> dict[str, Any]:
    """Return what a fork server reports once it got its settings."""
    with server as starter:  # it goes on as a grandchild
        if starter.stdin is None or starter.stdout is None:
            raise ValueError("the fork server's streams must be pipes")
        with contextlib.suppress(OSError):
            starter.stdin.write(request)
            starter.stdin.close()
        heard = _has_input(starter.stdout.fileno(), _START_TIMEOUT_S)
        word = starter.stdout.readline() if heard else b""
    try:
        report: dict[str, Any] = json.loads(word)
    except ValueError:
        return {"problem": "the fork server said nothing; its log may tell why"}
    return report


class _ServerEnded(SandboxUnavailable):
    """The fork server, and every jail with it, has ended."""


class _NoAnswer(SandboxUnavailable):
    """The fork server did not answer in time; it may do later what was asked."""


def _has_input(fd: int, timeout_s: float) -> bool:
    poll = select.poll()  # select() cannot have descriptors above 1023
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


class _Connection:
    """A connection to a fork server; one request at a time."""

    def __init__(self, folder: Path) -> None:
        self._socket = _connect(folder / forkserver.SOCKET_NAME)
        self.usable = True

    def is_open(self) -> bool:
        """Tell whether the server is still there; it never speaks unasked."""
        return self.usable and not _has_input(self._socket.fileno(), 0)

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Return the answer; raise SandboxUnavailable or SandboxGone if it is no.

        A connection that came with it is its "agent".
        """
        self.usable = False  # until the answer is here
        self._socket.settimeout(timeout_s)
        try:
            self._socket.send(json.dumps(request).encode())
            message, handed = linux.receive_fds(
                self._socket, forkserver.MESSAGE_BYTES, 1
            )
        except TimeoutError as error:
            raise _NoAnswer("no jail became free in time") from error
        except OSError as error:
            raise _ServerEnded(f"the fork server ended: {error}") from error
        if not message:
            raise _ServerEnded("the fork server ended")
        self.usable = True
        answer: dict[str, Any] = json.loads(message)
        for descriptor in handed:
            answer["agent"] = socket.socket(fileno=descriptor)
        if "error" not in answer:
            if request["op"] in _HANDING and not handed:
                raise _NoAnswer(
                    "no connection came with the answer: the fork server is of another"
                    " version, or this process has too many open files"
                )
            return answer
        if answer["error"] == "gone":
            raise SandboxGone(answer["message"])
        raise SandboxUnavailable(answer["message"])

    def close(self) -> None:
        self._socket.close()


def _connect(path: Path) -> socket.socket:
    """Connect to a unix socket, also where its path is longer than sockets allow."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        if len(os.fsencode(path)) < _LONGEST_SOCKET_PATH:
            connection.connect(str(path))
        else:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                connection.connect(f"/proc/self/fd/{folder}/{path.name}")
            finally:
                os.close(folder)
    except OSError:
        connection.close()
        raise
    return connection


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        folder.chmod(0o700)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _installation(state: Path) -> str:
    """Return an id of this state folder that no other one has."""
    with _locked(state / "start.lock"):
        known = state / "scope"
        if not known.exists():
            draft = state / "scope.new"
            draft.write_text(uuid.uuid4().hex)
            draft.replace(known)
        text = known.read_text()
    return hashlib.sha256(text.encode()).hexdigest()[:16]
