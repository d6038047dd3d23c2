"""`manage.py serve` as a real process: everything in one, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executions.tests.core.conftest import eventually
from testing.scrape import told
from testing.servers import REPOSITORY, Command, accepts, free_port

HELLO = {"runtime": "python", "source": "print(6 * 7)"}
LONG = {"runtime": "python", "source": "import time; time.sleep(300)",
        "limits": {"wall_time_ms": 60_000}}  # fmt: skip


class Serve(Command):
    """The embedded server on a database and a state folder of its own."""

    stop_signal = signal.SIGINT

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = free_port()
        self.state_dir = folder / "state"
        env = {
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            "CELERY_BROKER_URL": "memory://local",
            "SANDBOX_BACKEND": "jail",
            "SANDBOX_STATE_DIR": str(self.state_dir),
            "VAR_DIR": str(folder),
            **settings,
        }
        argv = ["manage.py", "serve", "--port", str(self.port)]
        super().__init__(folder, "serve", argv, env, ready=lambda _: accepts(self.port))
        self.run("migrate", "-v0")
        printed = self.run("create_api_key", "tester", "--create-user", "--quiet")
        self.key = printed.split()[-1]

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return done.stdout

    def call(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    def left_over(self) -> list[str]:
        """Processes that name this server's folder, other than itself."""
        found = subprocess.run(
            ["pgrep", "-af", str(self.folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        return found.stdout.splitlines()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path) as running:
        yield running


@pytest.mark.jail
def test_serve_runs_a_program_and_leaves_nothing(server: Serve) -> None:
    answer = server.call("/api/v1/executions?wait=30", HELLO)
    assert (answer["verdict"], answer["run"]["stdout"]) == ("ok", "42\n")
    server.stop()
    assert server.process
    assert server.process.returncode == 0
    printed = server.log_path.read_text()
    assert f"Coding Platform on http://127.0.0.1:{server.port}/" in printed
    assert printed.endswith("Stopped.\n")
    eventually(lambda: server.left_over() == [])


@pytest.mark.slow
def test_serve_tells_its_metrics(tmp_path: Path) -> None:
    port = free_port()
    settings = {"METRICS_HOST": "127.0.0.1", "METRICS_PORT": str(port)}
    with Serve(tmp_path, SANDBOX_BACKEND="fake", **settings) as server:
        server.call("/api/v1/executions?wait=30", HELLO)
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: told(url)["executions_total", "ok"] == 1)


@pytest.mark.jail
def test_serve_queues_again_what_it_has_to_kill(tmp_path: Path) -> None:
    with Serve(tmp_path, SERVE_STOP_S="0.5") as server:
        made = server.call("/api/v1/executions", LONG)
        eventually(lambda: server.call(made["url"])["status"] == "running", 20)
        server.stop()
        assert "1 killed, they will start again" in server.log_path.read_text()
        assert server.left_over() == []
        server.start()
        eventually(lambda: server.call(made["url"])["attempt"] == 2, 20)
        server.call(f"{made['url']}/cancel", {})
        answer = server.call(f"{made['url']}?wait=20")
        assert answer["status"] == "cancelled"


@pytest.mark.jail
def test_serve_lets_what_runs_end(server: Serve) -> None:
    source = "import time; time.sleep(1.5); print('done')"
    made = server.call("/api/v1/executions", {**HELLO, "source": source})
    eventually(lambda: server.call(made["url"])["status"] == "running", 20)
    server.stop()
    server.start()
    answer = server.call(made["url"])
    assert (answer["verdict"], answer["attempt"]) == ("ok", 1)


@pytest.mark.jail
def test_serve_goes_on_after_a_kill(server: Serve) -> None:
    source = "import time; time.sleep(3); print('done')"
    made = server.call("/api/v1/executions", {**HELLO, "source": source})
    eventually(lambda: server.call(made["url"])["status"] == "running", 20)
    server.kill()
    server.start()
    answer = server.call(f"{made['url']}?wait=60")
    assert (answer["verdict"], answer["attempt"]) == ("ok", 1)
    assert answer["run"]["stdout"] == "done\n"


@pytest.mark.jail
def test_execute_shows_output_and_exits_like_the_program(
    tmp_path: Path, server: Serve
) -> None:
    file = tmp_path / "program.py"
    file.write_text(
        "import sys\nprint(sys.argv[1:], sys.stdin.read())\n"
        "print('wrong', file=sys.stderr)\nsys.exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "manage.py", "execute", str(file), "--stdin", "-", "--", "-a"],
        cwd=REPOSITORY,
        env={**os.environ, **server.env},
        input="in",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (7, "['-a'] in\n")
    assert done.stderr == "wrong\nexited with code 7\n"


@pytest.mark.jail
def test_execute_prints_the_result_as_json(tmp_path: Path, server: Serve) -> None:
    file = tmp_path / "program.py"
    file.write_text("print(6 * 7)")
    result = json.loads(server.run("execute", str(file), "--json"))
    assert (result["verdict"], result["run"]["stdout"]) == ("ok", "42\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none-such.py"], "none-such.py: No such file or directory"),
        (["README.md"], "which runtime is README.md for"),
        (["README.md", "--runtime", "klingon"], "refused: .*klingon"),
        (["README.md", "--runtime", "python", "--user", "nobody"], "no user nobody"),
    ],
)
@pytest.mark.django_db
def test_execute_says_what_it_cannot_run(arguments: list[str], said: str) -> None:
    from django.core.management import CommandError, call_command  # noqa: PLC0415

    with pytest.raises(CommandError) as raised:
        call_command("execute", *arguments)
    assert re.search(said, str(raised.value))


@pytest.mark.slow
def test_serve_wants_a_migrated_database(tmp_path: Path) -> None:
    env = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite3",
        "CELERY_BROKER_URL": "memory://local",
        "SANDBOX_BACKEND": "fake",
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "serve"],
        cwd=REPOSITORY,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode != 0
    assert "manage.py migrate" in done.stderr
