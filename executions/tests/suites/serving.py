"""A server of its own for the suites: `manage.py serve` on a free port, real jails."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from executions.tests.suites.over_http import Server

ROOT = Path(__file__).resolve().parents[3]
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


@dataclass(slots=True)
class Serving:
    """A running server, its folders, and everything it printed."""

    server: Server
    process: subprocess.Popen[str]
    folder: Path
    url: str
    key: str
    printed: list[str] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "sandbox"

    def stop(self) -> int:
        """Stop it as Ctrl-C does and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_TIMEOUT_S)


@contextlib.contextmanager
def serving(
    extra_env: Mapping[str, str] | None = None, *, prepared: str = ""
) -> Iterator[Serving]:
    """Serve with a database and a state folder of its own; nothing else is shared.

    `prepared` is a folder that runtimes.prepare filled, to spare compilers time.
    """
    with tempfile.TemporaryDirectory(prefix="suite-server-") as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        env = _environment(folder, prepared) | dict(extra_env or {})
        _manage(env, "migrate", "--verbosity", "0")
        key = _manage(
            env, "create_api_key", "suite", "--create-user", "--quiet"
        ).strip()
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", "0"],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        printed: list[str] = []
        try:
            url = _address(process, printed)
            yield Serving(Server(url, key), process, folder, url, key, printed)
        finally:
            _end(process)


def _environment(folder: Path, prepared: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | {
        "LANG": "C.UTF-8",
        "ENV_FILE": os.devnull,
        "VAR_DIR": str(folder),
        "SANDBOX_STATE_DIR": str(folder / "sandbox"),
        "SANDBOX_PREPARED_DIR": prepared or str(folder / "prepared"),
        "SANDBOX_BACKEND": "jail",
        "TMPDIR": str(folder / "tmp"),
        "PYTHONUNBUFFERED": "1",
    }


def _manage(env: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=env,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


def _address(process: subprocess.Popen[str], printed: list[str]) -> str:
    """Read what the server prints, here until its address, then in the background."""
    found: list[str] = []
    is_known = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line)
            if not found and (match := re.search(r"https?://[^\s/]+", line)):
                found.append(match[0])
                is_known.set()
        is_known.set()

    threading.Thread(target=read, daemon=True).start()
    is_known.wait(START_TIMEOUT_S)
    if not found:
        raise RuntimeError("the server did not start:\n" + "".join(printed))
    return found[0]


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
