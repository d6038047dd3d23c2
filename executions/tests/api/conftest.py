"""The cast of the API's tests: an owner, a member of staff and a stranger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from accounts.models import ApiKey, User
from executions.models import Execution
from testing.servers import REPOSITORY, Command, accepts, free_port

HELLO = {"runtime": "python", "source": "print(6 * 7)"}


@dataclass(frozen=True)
class Caller:
    """Somebody with an API key, or nobody; answers are Django's test responses."""

    user: User | None
    key: str = ""

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send JSON, or the very bytes when `body` is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.key:
            names.setdefault("Authorization", f"Bearer {self.key}")
        return Client(raise_request_exception=False).generic(
            method,
            path,
            b"" if body is None else data,
            content_type=names.pop("Content-Type", "application/json"),
            headers=names,
        )

    def get(self, path: str, **headers: str) -> Any:
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.request("POST", path, body, **headers)

    def submit(self, **changes: Any) -> Any:
        return self.post("/api/v1/executions", {**HELLO, **changes})


def caller(name: str, **fields: Any) -> Caller:
    user = User.objects.create_user(name, **fields)
    return Caller(user, ApiKey.objects.issue(user, "tests")[1])


@pytest.fixture
def owner(db: None) -> Caller:
    return caller("owner")


@pytest.fixture
def staff(db: None) -> Caller:
    return caller("staff", is_staff=True, is_superuser=True)


@pytest.fixture
def stranger(db: None) -> Caller:
    return caller("stranger")


@pytest.fixture
def nobody() -> Caller:
    return Caller(None)


@pytest.fixture
def execution(owner: Caller) -> Execution:
    """The owner's execution, still queued."""
    return Execution.objects.get(pk=owner.submit().json()["id"])


class Web:
    """A real web server, on a database file of its own.

    gunicorn alone, where nothing runs, or the embedded server with the fake sandbox.
    """

    def __init__(
        self, folder: Path, *, is_embedded: bool = False, **settings: str
    ) -> None:
        self.folder = folder
        self.port = free_port()
        serve = ["manage.py", "serve", "--port", str(self.port)]
        self.env = {
            "ENV_FILE": os.devnull,
            "SECRET_KEY": "only-for-tests",
            "SANDBOX_BACKEND": "fake",
            "VAR_DIR": str(folder),
            "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
            "CELERY_BROKER_URL": "memory://",
            "WEB_BIND": f"127.0.0.1:{self.port}",
            "WEB_CONCURRENCY": "1",
            **settings,
        }
        self.command = Command(
            folder / "web",
            "web",
            serve if is_embedded else ["-m", "gunicorn"],
            self.env,
            ready=lambda _: accepts(self.port),
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.command.log_path.read_text()

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **self.env},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def worker_pid(self) -> int:
        """The process that answers; gunicorn itself only watches it."""
        children = Path(f"/proc/{self.command.pid}/task/{self.command.pid}/children")
        return int(children.read_text().split()[0])


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    web = Web(tmp_path_factory.mktemp("web"))
    web.manage("migrate", "--verbosity", "0")
    with web.command:
        yield web


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    embedded = Web(tmp_path_factory.mktemp("embedded"), is_embedded=True)
    embedded.manage("migrate", "--verbosity", "0")
    with embedded.command:
        yield embedded


@pytest.fixture(scope="session")
def web_key(web: Web) -> str:
    return web.manage("create_api_key", "owner", "--create-user", "--quiet")
