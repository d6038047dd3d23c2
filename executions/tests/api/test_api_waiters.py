"""A thousand clients that wait, on one web process with the servers of a deployment."""

from __future__ import annotations

import json
import os
import resource
import socket
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

from executions.tests.api.conftest import HELLO, Web

pytestmark = [pytest.mark.db, pytest.mark.load]

WAITERS = 1000
WAIT_S = 50
MAX_RSS_KIB = 256 * 1024
POOL_SIZE = 10


@pytest.fixture
def database() -> Iterator[str]:
    """A PostgreSQL database of its own; its URL."""
    url = urlsplit(os.environ["DATABASE_URL"])
    name = f"waiters_{uuid4().hex[:12]}"
    with psycopg.connect(url.geturl(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield urlunsplit(url._replace(path=f"/{name}"))
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def deployed(tmp_path: Path, database: str) -> Iterator[Web]:
    web = Web(
        tmp_path,
        DATABASE_URL=database,
        DATABASE_POOL_SIZE=str(POOL_SIZE),
        CELERY_BROKER_URL=os.environ["CELERY_BROKER_URL"],
        LOG_LEVEL="WARNING",
        WEB_STOP_TIMEOUT_S="3",
    )
    web.manage("migrate", "--verbosity", "0")
    with web.command:
        yield web


@pytest.fixture(autouse=True)
def enough_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < WAITERS + 500:
        pytest.fail(f"this machine allows {before[1]} open files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (WAITERS + 500, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def send(web: Web, key: str, method: str, path: str, body: Any = None) -> Any:
    connection = HTTPConnection("127.0.0.1", web.port, timeout=60)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body)
    connection.request(method, path, data, headers)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    assert answer.status < 400, content
    return content


def status_of(sock: socket.socket) -> int:
    """Read one answer to its end; return its status."""
    with sock, sock.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        length = 0
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert len(stream.read(length)) == length
    return status


def test_a_thousand_wait_on_one_process(deployed: Web, database: str) -> None:
    key = deployed.manage("create_api_key", "owner", "--create-user", "--quiet")
    path = send(deployed, key, "POST", "/api/v1/executions", HELLO)["url"]
    request = (
        f"GET {path}?wait={WAIT_S} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Bearer {key}\r\n\r\n"
    ).encode()
    waiting = []
    for _ in range(WAITERS):
        sock = socket.create_connection(("127.0.0.1", deployed.port), timeout=90)
        sock.sendall(request)
        waiting.append(sock)
    pid = deployed.worker_pid()
    tasks = Path(f"/proc/{pid}/task")
    end = time.monotonic() + WAIT_S / 2
    while len(list(tasks.iterdir())) < WAITERS and time.monotonic() < end:
        time.sleep(0.1)
    assert len(list(tasks.iterdir())) >= WAITERS

    durations = []
    for _ in range(60):
        began = time.monotonic()
        send(deployed, key, "GET", path)
        durations.append(time.monotonic() - began)
    assert sorted(durations)[57] < 1

    with psycopg.connect(database) as connection:
        (in_use,) = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone() or (None,)
    assert in_use is not None
    assert in_use <= POOL_SIZE

    send(deployed, key, "POST", f"{path}/cancel")
    assert [status_of(sock) for sock in waiting] == [200] * WAITERS
    peak = next(
        int(line.split()[1])
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    assert peak <= MAX_RSS_KIB
