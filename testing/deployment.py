"""The product as it is deployed, on one machine: PostgreSQL, Redis, web, workers.

Everything lives below one temporary folder and ends with the `with` block, the fork
server and its jails included. Settings reach the processes as environment variables,
exactly as an operator would set them.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from celery import Celery

from testing.forkservers import forkserver_states
from testing.servers import (
    REPOSITORY,
    Command,
    Postgres,
    Redis,
    free_port,
    wait_until,
)

Row = dict[str, Any]

TEMPLATE = "DEPLOYMENT_TEMPLATE"
KEY = "api_key"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; `body` is the decoded JSON, or None when it was not JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Client:
    """A lean HTTP client with one kept-alive connection to each thread."""

    def __init__(self, port: int, key: str, *, timeout_s: float = 90.0) -> None:
        self.port = port
        self.key = key
        self.timeout_s = timeout_s
        self._local = threading.local()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; raises OSError or HTTPException when the server is away."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=self.timeout_s
            )
            self._local.connection = connection
        sent = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self._local.connection = None
            raise
        return Answer(response.status, dict(response.getheaders()), _decode(raw))

    def submit(self, *, wait_s: float = 0, **program: Any) -> Answer:
        query = f"?wait={wait_s}" if wait_s else ""
        return self.request("POST", f"/api/v1/executions{query}", program)


def _decode(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def manage(env: Mapping[str, str], *arguments: str) -> str:
    """Run a management command with these settings; return what it printed."""
    done = subprocess.run(  # noqa: S603 - commands of our own
        [sys.executable, "manage.py", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **env},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


@cache
def template() -> Path:
    """Return a folder with a stopped PostgreSQL's data, migrated, and a user's key.

    Made once for this process and those that it starts: a third of what it takes to
    bring up a deployment.
    """
    if known := os.environ.get(TEMPLATE):
        return Path(known)
    folder = Path(tempfile.mkdtemp(prefix="deployment-template-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o711)
    with Postgres(folder) as postgres:
        env = {
            "DATABASE_URL": postgres.url,
            "SECRET_KEY": "none",
            "ENV_FILE": os.devnull,
        }
        manage(env, "migrate", "--verbosity", "0")
        printed = manage(env, "create_api_key", "load", "--create-user", "--quiet")
    (folder / KEY).write_text(printed.split()[-1])
    os.environ[TEMPLATE] = str(folder)
    return folder


class Deployment:
    """PostgreSQL, Redis, one web server, and as many workers as are asked for.

    `controller_settings` are those that controllers have beside or instead.
    """

    def __init__(  # noqa: PLR0913 - by keyword
        self,
        *,
        workers: int = 1,
        web_processes: int = 1,
        concurrency: int = 8,
        controllers: int = 0,
        settings: Mapping[str, str] | None = None,
        controller_settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="deployment-", dir="/tmp"))
        # PostgreSQL's own account has to reach its folder below.
        self.folder.chmod(0o711)
        self._template = template()
        self.postgres = Postgres(
            self.folder / "postgres", copy_of=self._template / "data"
        )
        self.redis = Redis(self.folder / "redis")
        self.state_dir = self.folder / "state"
        self.port = free_port()
        self.web_processes = web_processes
        self.concurrency = concurrency
        self.env = {
            "DEBUG": "false",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "ALLOWED_HOSTS": "127.0.0.1",
            "DATABASE_URL": self.postgres.url,
            "CELERY_BROKER_URL": self.redis.url,
            # Whatever the tests or a local .env choose, this is a real one.
            "ENV_FILE": os.devnull,
            "SANDBOX_BACKEND": "jail",
            "SANDBOX_STATE_DIR": str(self.state_dir),
            "WORKER_CONCURRENCY": str(concurrency),
            "WEB_CONCURRENCY": str(web_processes),
            "PYTHONUNBUFFERED": "1",
            **(settings or {}),
        }
        self.controller_env = dict(controller_settings or {})
        self.web = self._web()
        self.workers = [self._worker(f"worker-{n}") for n in range(workers)]
        self.scheduler = self._command(
            "scheduler", ["manage.py", "run_scheduler"], ready=lambda _: True
        )
        self.controllers = [
            self._controller(f"controller-{n}") for n in range(controllers)
        ]
        self.key = ""

    def _command(
        self,
        name: str,
        argv: list[str],
        settings: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Command:
        env = {**self.env, "WORKER_NAME": name, **(settings or {})}
        return Command(self.folder / name, name, argv, env, **options)

    def _web(self) -> Command:
        argv = ["-m", "gunicorn", "-c", "gunicorn.conf.py",
                "--bind", f"127.0.0.1:{self.port}",
                "--workers", str(self.web_processes),
                "platform_site.wsgi:application"]  # fmt: skip
        return self._command("web", argv, ready=lambda _: self._is_healthy())

    def _worker(self, name: str) -> Command:
        argv = ["-m", "celery", "-A", "platform_site", "worker", "-n", f"{name}@%h",
                "-l", "INFO"]  # fmt: skip
        return self._command(
            name, argv, ready=lambda c: b" ready." in c.log_since_start()
        )

    def _controller(self, name: str) -> Command:
        return self._command(
            name,
            ["manage.py", "run_sandbox_controller"],
            self.controller_env,
            ready=lambda c: b"controller ready" in c.log_since_start(),
        )

    def _is_healthy(self) -> bool:
        """Answered by a web process; connections are accepted before there is one."""
        client = Client(self.port, "", timeout_s=2)
        try:
            return client.request("GET", "/api/health/").status == HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False

    def add_worker(self, name: str) -> Command:
        """Describe one more worker; the caller starts it."""
        worker = self._worker(name)
        self.workers.append(worker)
        return worker

    def ring(self, times: int) -> None:
        """Send the workers' bell through the broker, past the product."""
        with Celery(broker=self.redis.url) as sender:
            for _ in range(times):
                sender.send_task("executions.work", queue="bells", ignore_result=True)

    def manage(self, *arguments: str) -> str:
        """Run a management command and return what it printed."""
        return manage(self.env, *arguments)

    def __enter__(self) -> Self:
        try:
            self.postgres.start()
            self.redis.start()
            self.key = (self._template / KEY).read_text()
            self.web.start()
            for worker in self.workers:
                worker.start()
            self.scheduler.start()
            for controller in self.controllers:
                controller.start()
        except BaseException:
            self.close()
            raise
        return self

    def client(self, key: str = "") -> Client:
        return Client(self.port, key or self.key)

    def rows(self, query: str, *parameters: Any) -> list[Row]:
        """Read from the database directly, past the product."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            cursor = connection.execute(query, parameters)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def forkserver_states(self) -> list[dict[str, Any]]:
        """What each fork server of this deployment says of itself: pid, counts."""
        return forkserver_states(self.state_dir)

    def forkserver_pids(self) -> list[int]:
        return [state["pid"] for state in self.forkserver_states()]

    def close(self) -> None:
        for server in (
            *self.controllers,
            self.scheduler,
            *self.workers,
            self.web,
        ):
            server.__exit__(None, None, None)
        for pid in self.forkserver_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not self.forkserver_pids(), "fork server gone")
        self.redis.__exit__(None, None, None)
        self.postgres.__exit__(None, None, None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        # After a failure the logs below the folder are what one wants to read.
        if error is None:
            shutil.rmtree(self.folder)
