"""The two forms in which the product runs, started for the bench alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from testing.deployment import Deployment, manage
from testing.forkservers import forkserver_states
from testing.servers import Command, accepts, free_port, wait_until

SETTINGS = {"LOG_LEVEL": "WARNING"}


@dataclass(frozen=True)
class Form:
    """A running product: where it answers, and which processes are its own."""

    name: str
    port: int
    key: str
    roots: Callable[[], list[int]] = field(repr=False)


@contextmanager
def deployed(*, workers: int = 1, web_processes: int = 1) -> Iterator[Form]:
    """PostgreSQL, Redis, gunicorn and one Celery worker process."""
    with Deployment(
        workers=workers, web_processes=web_processes, settings=SETTINGS
    ) as running:
        yield Form(
            name="deployed",
            port=running.port,
            key=running.key,
            roots=lambda: [
                *(server.pid for server in (running.web, *running.workers)),
                *running.forkserver_pids(),
            ],
        )


@contextmanager
def embedded() -> Iterator[Form]:
    """`manage.py serve` on SQLite and in memory."""
    folder = Path(tempfile.mkdtemp(prefix="bench-serve-", dir="/tmp"))
    port = free_port()
    env = {
        **SETTINGS,
        "DATABASE_URL": "",
        "CELERY_BROKER_URL": "memory://",
        "VAR_DIR": str(folder),
        "ENV_FILE": os.devnull,
        "SANDBOX_BACKEND": "jail",
        "SANDBOX_STATE_DIR": str(folder / "sandbox"),
        "PYTHONUNBUFFERED": "1",
    }
    manage(env, "migrate", "--verbosity", "0")
    key = manage(env, "create_api_key", "bench", "--create-user", "--quiet").split()
    server = Command(
        folder,
        "serve",
        ["manage.py", "serve", "--port", str(port)],
        env,
        ready=lambda _: accepts(port),
    )
    try:
        with server:
            yield Form(
                name="embedded",
                port=port,
                key=key[-1],
                roots=lambda: [server.pid, *_forkservers(folder / "sandbox")],
            )
    finally:
        # The fork server ends with `serve`; one that stays would distort what follows.
        wait_until(lambda: not _forkservers(folder / "sandbox"), "fork server gone")
    shutil.rmtree(folder)


FORMS: Mapping[str, Callable[[], AbstractContextManager[Form]]] = {
    "deployed": deployed,
    "embedded": embedded,
}


def _forkservers(state_dir: Path) -> list[int]:
    return [state["pid"] for state in forkserver_states(state_dir)]


def memory_bytes(form: Form) -> dict[str, int]:
    """Return the proportional memory of each process of the form, by pid and name.

    Pages that several processes share are divided among them, so the sum is what the
    form takes from the machine.
    """
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(fields[1])
    ours = set(form.roots())
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        ours |= more
        grown = bool(more)
    return {name: size for pid in sorted(ours) for name, size in _proportional(pid)}


def _proportional(pid: int) -> Iterator[tuple[str, int]]:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        name = b" ".join(words[:4]).decode(errors="replace").strip()
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                yield f"{pid} {name}", int(line.split()[1]) * 1024
