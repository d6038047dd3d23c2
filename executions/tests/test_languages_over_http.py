"""A greeting in every language of this machine, from HTTP to a real jail and back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from executions import runtimes
from executions.runtimes import prepare, probe
from executions.runtimes.base import Runtime
from testing.deployment import Client
from testing.servers import accepts, free_port, wait_until

pytestmark = pytest.mark.jail

ROOT = Path(__file__).resolve().parents[2]
GREETINGS = Path(__file__).parent / "greetings"
AVAILABLE = [runtime for runtime in runtimes.all() if probe.is_available(runtime)]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The embedded server, as `make run` starts it, in a folder of its own."""
    prepared = Path(settings.SANDBOX_PREPARED_DIR)
    for runtime in prepare.needed(prepared):
        prepare.prepare(runtime, prepared)
    environment = {
        **os.environ,
        "VAR_DIR": str(tmp_path_factory.mktemp("var")),
        "SANDBOX_PREPARED_DIR": str(prepared),
        "SANDBOX_BACKEND": "jail",
        "DATABASE_URL": "",
        "CELERY_BROKER_URL": "memory://local",
    }

    def manage(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=120,
        )
        return done.stdout.strip()

    manage("migrate", "--verbosity=0")
    key = manage("create_api_key", "someone", "--create-user", "--quiet")
    port = free_port()
    argv = [sys.executable, "manage.py", "serve", "--port", str(port)]
    with subprocess.Popen(argv, cwd=ROOT, env=environment) as server:
        try:
            wait_until(lambda: accepts(port), "the server", timeout_s=60)
            yield Client(port, key)
        finally:
            server.send_signal(signal.SIGINT)


@pytest.mark.parametrize("runtime", AVAILABLE, ids=lambda runtime: runtime.key)
def test_language_greets_over_http(runtime: Runtime, client: Client) -> None:
    (path,) = GREETINGS.glob(f"{runtime.key}.*")
    answer = client.submit(
        wait_s=60,
        runtime=runtime.key,
        source=path.read_text(),
        stdin="Zoë ☃\n",
        # As long as it may take: other tests run at the same time.
        limits={"wall_time_ms": settings.RUN_MAX.wall_time_ms},
        compile_limits={"wall_time_ms": settings.COMPILE_MAX.wall_time_ms},
    )
    assert answer.status == 201, answer.body
    for _ in range(3):
        if answer.body["status"] != "finished":
            answer = client.request("GET", answer.headers["Location"] + "?wait=60")
    assert answer.body["run"]["stdout"] == "Grüße, Zoë ☃!\n", answer.body
    assert answer.body["run"]["exit_code"] == 3
    assert answer.body["verdict"] == "runtime_error"
    assert answer.body["reason"] == "exited with code 3"
