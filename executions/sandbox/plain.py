"""The agent as an ordinary child process, WITHOUT any confinement.

For tests of the protocol and for development on systems without namespaces. A program
runs with the rights of whoever starts it and can read and change what they can, so this
backend is never chosen by itself, and every outcome names what is not enforced.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

from executions.runtimes.base import Prestart
from executions.sandbox import scratch
from executions.sandbox.agent import Bounds, Listener, Place, Usage, Warm, serve
from executions.sandbox.base import (
    RunSpec,
    SandboxGone,
    SandboxUnavailable,
    Wanted,
    always,
)
from executions.sandbox.session import AgentSession

UNENFORCED = ("isolation", "memory_bytes", "max_processes", "scratch_bytes")

_ROOT = str(Path(__file__).resolve().parents[2])
_MAIN = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    "from executions.sandbox.plain import main; main(sys.argv[2])"
)
_PR_SET_CHILD_SUBREAPER = 36
_PATH = "/usr/local/bin:/usr/bin:/bin"


class NoConfinement:
    """Confines nothing and sees nothing: the agent measures with rusage."""

    samples_memory = False

    def place(self, stage: int) -> None:
        return

    def within(self, stage: int) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def usage(self, stage: int) -> Usage | None:
        return None

    def shrink_scratch(self, size_bytes: int) -> None:
        return


class _Sandbox:
    """One agent process with its socket and its folder."""

    def __init__(
        self, warm: Prestart | None, bounds: Bounds, path: str, token: str | None
    ) -> None:
        self.folder = tempfile.mkdtemp(prefix="plain-sandbox-")
        for name in ("scratch", "temporary"):
            Path(self.folder, name).mkdir()
        if token is None:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{self.folder}/agent.sock")
            listener.listen(64)
        else:
            listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.family, self.address = listener.family, listener.getsockname()
        theirs, self._lifeline = os.pipe()
        config = {
            "folder": self.folder,
            "path": path,
            "listener": listener.fileno(),
            "lifeline": theirs,
            "warm": None if warm is None else _warm_config(warm),
            "bounds": bounds._asdict(),
            "token": token,
        }
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", "-c", _MAIN, _ROOT, json.dumps(config)],
            pass_fds=(listener.fileno(), theirs),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={},
        )
        listener.close()
        os.close(theirs)

    def connect(self) -> socket.socket:
        sock = socket.socket(self.family)
        try:
            sock.connect(self.address)
        except OSError:
            sock.close()
            raise
        return sock

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        """End the agent and all it started, and remove what they left."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(15)
        # However deep or protected what the program left is.
        scratch.empty(self.folder)
        Path(self.folder).rmdir()


class PlainBackend:
    """A Backend without confinement; prepare() starts its agents ahead of runs.

    With `token`, workers and agents speak over TCP, as with pods, and not over a unix
    socket, as with jails.
    """

    def __init__(
        self,
        prestarts: Iterable[Prestart] = (),
        *,
        bounds: Bounds | None = None,
        path: str = _PATH,
        token: str | None = None,
    ) -> None:
        self.scope = f"plain-{os.getpid()}"
        self._prestarts = {prestart.key: prestart for prestart in prestarts}
        self._bounds = bounds or Bounds()
        self._path = path
        self._token = token
        self._waiting: dict[str | None, list[_Sandbox]] = {}
        self._running: dict[str, _Sandbox] = {}
        self._fenced: set[str] = set()
        self._lock = threading.Lock()

    def prepare(self, prestart: str | None = None) -> int:
        """Start an agent ahead, to be taken by a later run; return its pid."""
        sandbox = self._new(prestart)
        with self._lock:
            self._waiting.setdefault(prestart, []).append(sandbox)
        return sandbox.process.pid

    def _new(self, prestart: str | None) -> _Sandbox:
        warm = self._prestarts.get(prestart) if prestart is not None else None
        return _Sandbox(warm, self._bounds, self._path, self._token)

    def new_agent(self) -> Callable[[], socket.socket]:
        """Start an agent that is nobody's yet; return what connects to it."""
        self.prepare()
        return self._waiting[None][-1].connect

    def start(self, spec: RunSpec, is_wanted: Wanted = always) -> AgentSession:
        self._sweep()
        with self._lock:
            if spec.key in self._fenced or spec.key in self._running:
                raise SandboxUnavailable(f"{spec.key} must not be started again")
            waiting = self._waiting.get(spec.prestart)
            sandbox = waiting.pop() if waiting else self._new(spec.prestart)
            self._running[spec.key] = sandbox
        try:
            sock = sandbox.connect()
        except OSError as error:
            raise SandboxUnavailable(f"the agent has ended: {error}") from error
        return AgentSession.start(sock, spec, token=self._token, unenforced=UNENFORCED)

    def attach(self, key: str, is_wanted: Wanted = always) -> AgentSession:
        with self._lock:
            sandbox = self._running.get(key)
            if sandbox is None:
                self._fenced.add(key)
        if sandbox is None:
            raise SandboxGone(key)
        try:
            sock = sandbox.connect()
        except OSError as error:
            raise SandboxGone(key) from error
        return AgentSession.attach(sock, key, token=self._token, unenforced=UNENFORCED)

    def is_running(self, key: str) -> bool:
        """Whether the agent of a run is still there, with or without its program."""
        sandbox = self._running.get(key)
        return sandbox is not None and sandbox.is_alive()

    def kill(self, key: str) -> None:
        """Kill the agent of a run, as a fault would."""
        self._running[key].process.kill()

    def _sweep(self) -> None:
        """Remove what ended agents left."""
        with self._lock:
            ended = [
                k for k, sandbox in self._running.items() if not sandbox.is_alive()
            ]
            gone = [self._running.pop(key) for key in ended]
            self._fenced.update(ended)
        for sandbox in gone:
            sandbox.close()

    def held(self) -> list[str]:
        self._sweep()
        with self._lock:
            return list(self._running)

    def discard(self, key: str) -> None:
        with self._lock:
            self._fenced.add(key)
            sandbox = self._running.pop(key, None)
        if sandbox is not None:
            sandbox.close()

    def problems(self) -> list[str]:
        return ["programs run without any confinement (the plain backend)"]

    def close(self) -> None:
        with self._lock:
            sandboxes = list(self._running.values())
            for waiting in self._waiting.values():
                sandboxes += waiting
            self._running.clear()
            self._waiting.clear()
        for sandbox in sandboxes:
            sandbox.close()


def _warm_config(warm: Prestart) -> dict[str, object]:
    return {
        "key": warm.key,
        "argv": list(warm.argv),
        "command": list(warm.command),
        "env": dict(warm.env),
        "files": dict(warm.files),
        "bytecode": dict(warm.bytecode),
    }


def main(text: str) -> NoReturn:
    """Be the agent's process; `text` is the configuration that _Sandbox made."""
    config = json.loads(text)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for name in ("listener", "lifeline"):
        os.set_inheritable(config[name], False)
    folder = config["folder"]
    place = Place(
        scratch=f"{folder}/scratch",
        writable=(f"{folder}/temporary",),
        env={
            "PATH": config["path"],
            "HOME": f"{folder}/scratch",
            "TMPDIR": f"{folder}/temporary",
            "LANG": "C.UTF-8",
        },
        is_init=False,
        counts_processes=False,
        has_own_uid=False,
    )
    serve(
        Listener(socket.socket(fileno=config["listener"])),
        NoConfinement(),
        place,
        warm=None if config["warm"] is None else Warm(**config["warm"]),
        bounds=Bounds(**config["bounds"]),
        lifeline=config["lifeline"],
        token=config["token"],
    )
