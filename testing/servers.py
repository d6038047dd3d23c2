"""Real server processes on free ports, each in a folder of its own.

Used by the test command, the fault suite and the bench. Every server is a child process
in a session of its own: `stop` asks it to end, `kill` is SIGKILL of the server alone,
`pause` and `resume` freeze it. Leaving the `with` block ends whatever is still there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

REPOSITORY = Path(__file__).resolve().parent.parent
SERVICE_USER = "postgres"
STOP_SECONDS = 30.0
READY_SECONDS = 60.0


class ServerFailed(RuntimeError):
    """A server did not come up, or did not end; ends with its last log lines."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(
    condition: Callable[[], bool], what: str, *, timeout_s: float = READY_SECONDS
) -> None:
    """Return once `condition` holds; raises ServerFailed(what) after a time.

    What takes long is looked at less often, so that looking costs next to nothing.
    """
    began = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - began
        if waited_s > timeout_s:
            raise ServerFailed(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(min(0.02 + waited_s / 50, 0.25))


def accepts(port: int) -> bool:
    """Tell whether something listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """One process and its log; subclasses say how it starts and when it is ready."""

    name = "server"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log_path = folder / f"{self.name}.log"
        self._log_start = 0
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def is_ready(self) -> bool:
        raise NotImplementedError

    def start(self, *, wait: bool = True) -> Self:
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self.process = self._spawn(log)
        if wait:
            self.wait_ready()
        return self

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - commands of our own
            self.command(),
            cwd=REPOSITORY,
            env=dict(self.environment()),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_ready(self) -> None:
        def ready_or_dead() -> bool:
            if not self.is_running:
                raise ServerFailed(
                    f"{self.name} ended at its start:\n{self.log_tail()}"
                )
            return self.is_ready()

        wait_until(ready_or_dead, f"{self.name} ready")

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise ServerFailed(f"{self.name} was never started")
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        if self.is_running:
            os.kill(self.pid, number)

    def stop(self, timeout_s: float = STOP_SECONDS) -> float:
        """Ask it to end, wait for that, and return the seconds it took."""
        began = time.monotonic()
        self.resume()
        self.signal(self.stop_signal)
        self._wait(timeout_s)
        return time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL the server process itself (not what it started) and reap it."""
        self.signal(signal.SIGKILL)
        self._wait(STOP_SECONDS)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def _wait(self, timeout_s: float) -> None:
        if self.process is None:
            return
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.process.wait(STOP_SECONDS)
            raise ServerFailed(
                f"{self.name} did not end within {timeout_s:.0f} s:\n{self.log_tail()}"
            ) from error

    def log_since_start(self) -> bytes:
        """What it wrote since its last start; the file keeps earlier ones too."""
        return self.log_path.read_bytes()[self._log_start :]

    def log_tail(self, size_bytes: int = 4000) -> str:
        if not self.log_path.exists():
            return ""
        return self.log_path.read_bytes()[-size_bytes:].decode(errors="replace")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.is_running:
            with contextlib.suppress(ServerFailed):
                self.stop()


def _unprivileged(argv: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root: use its package's account there."""
    if os.geteuid() != 0:
        return argv
    return ["setpriv", f"--reuid={SERVICE_USER}", f"--regid={SERVICE_USER}",
            "--clear-groups", *argv]  # fmt: skip


class Postgres(Server):
    """A PostgreSQL cluster of its own; `stop` is its fast shutdown."""

    name = "postgres"
    stop_signal = signal.SIGINT

    def __init__(
        self, folder: Path, *, max_connections: int = 200, copy_of: Path | None = None
    ) -> None:
        """With `copy_of`, the data folder of a stopped cluster, begin with its data."""
        super().__init__(folder)
        self.copy_of = copy_of
        self.port = free_port()
        self.max_connections = max_connections
        self.data = folder / "data"

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    @staticmethod
    def programs() -> Path:
        """The newest installed server's folder (Debian keeps it off the PATH)."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if found:
            return found[-1].parent
        on_path = shutil.which("postgres")
        if on_path is None:
            raise ServerFailed("PostgreSQL is not installed (Debian: postgresql)")
        return Path(on_path).resolve().parent

    def start(self, *, wait: bool = True) -> Self:
        if not self.data.exists():
            self._create()
        return super().start(wait=wait)

    def _create(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, SERVICE_USER, SERVICE_USER)
        if self.copy_of is not None:
            copy = ["cp", "-a", str(self.copy_of), str(self.data)]
            subprocess.run(copy, check=True)  # noqa: S603 - commands of our own
            return
        initdb = [str(self.programs() / "initdb"), "-D", str(self.data), "-U",
                  "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
                  "--no-sync"]  # fmt: skip
        subprocess.run(  # noqa: S603 - commands of our own
            _unprivileged(initdb), check=True, cwd="/", stdout=subprocess.DEVNULL
        )

    def command(self) -> list[str]:
        return _unprivileged(
            [str(self.programs() / "postgres"), "-D", str(self.data),
             "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
             "-c", "unix_socket_directories=",
             "-c", f"max_connections={self.max_connections}"]
        )  # fmt: skip

    def is_ready(self) -> bool:
        probe = [str(self.programs() / "pg_isready"), "-q", "-h", "127.0.0.1",
                 "-p", str(self.port)]  # fmt: skip
        return subprocess.run(probe, check=False).returncode == 0  # noqa: S603


class Redis(Server):
    """A Redis without persistence: after a restart it is empty."""

    name = "redis"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        program = shutil.which("redis-server")
        if program is None:
            raise ServerFailed("Redis is not installed (Debian: redis-server)")
        return [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "no", "--dir", str(self.folder)]  # fmt: skip

    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class Command(Server):
    """A process of the product: argv after the interpreter, and its environment."""

    def __init__(
        self,
        folder: Path,
        name: str,
        argv: list[str],
        env: Mapping[str, str],
        *,
        ready: Callable[[Command], bool],
    ) -> None:
        self.name = name
        super().__init__(folder)
        self._argv = argv
        self.env = dict(env)
        self._ready = ready

    def command(self) -> list[str]:
        return [sys.executable, *self._argv]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, **self.env}

    def is_ready(self) -> bool:
        return self._ready(self)
