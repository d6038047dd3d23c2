"""Impossible settings are named; a deployment's are without complaint."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from executions.limits import Limits
from platform_site import checks
from testing.servers import REPOSITORY


def messages() -> list[str]:
    return [message.msg for message in checks.settings_fit_together()]


def test_checks_find_nothing_in_the_defaults() -> None:
    assert messages() == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SANDBOX_BACKEND", "docker", "none of jail"),
        ("CELERY_BROKER_URL", "amqp://user:secret@host", "CELERY_BROKER_URL has to"),
        ("LEASE_RENEW_S", 14.0, "LEASE_LENGTH_S has to be at least 2 times"),
        ("LEASE_LOOK_S", 16.0, "LEASE_LOOK_S may not"),
        ("MAX_ATTEMPTS", 0, "MAX_ATTEMPTS has to be more than 0"),
        ("RETENTION_DAYS", -1, "RETENTION_DAYS may not be negative"),
        ("METRICS_PORT", 65_536, "METRICS_PORT is at most 65535"),
        ("RUN_MAX", replace(Limits(), cpu_time_ms=1), "RUN_DEFAULT_CPU_TIME_MS is"),
        ("COMPILE_DEFAULT", replace(Limits(), stack_bytes=0), "STACK_BYTES has to"),
    ],
)
def test_checks_name_what_cannot_work(
    settings: Any, name: str, value: Any, said: str
) -> None:
    setattr(settings, name, value)
    found = messages()
    assert len(found) == 1
    assert said in found[0]
    assert "secret" not in found[0]


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
def test_checks_want_servers_for_kubernetes(settings: Any) -> None:
    settings.SANDBOX_BACKEND = "kubernetes"
    settings.CELERY_BROKER_URL = "memory://"
    settings.DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3"}}
    assert [text.split(":")[0] for text in messages()] == [
        "SANDBOX_BACKEND=kubernetes needs PostgreSQL",
        "SANDBOX_BACKEND=kubernetes needs Redis",
    ]


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {"PATH", "HOME", "VAR_DIR"}
    inherited = {name: value for name, value in os.environ.items() if name in kept}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=REPOSITORY,
        env={**inherited, "ENV_FILE": os.devnull, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


DEPLOYED = {
    "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRST",
    "DATABASE_URL": "postgres://user:password@127.0.0.1:1/name",
    "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    "ALLOWED_HOSTS": "programs.example.org",
    "HTTPS": "true",
}


@pytest.mark.slow
def test_check_deploy_is_clean_as_deployed() -> None:
    done = run("check", "--deploy", "--fail-level", "WARNING", **DEPLOYED)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_deployment_needs_its_own_secret_key() -> None:
    env = {**DEPLOYED, "SECRET_KEY": ""}
    done = run("check", **env)
    assert done.returncode != 0
    assert "Set SECRET_KEY" in done.stderr


@pytest.mark.slow
def test_one_machine_keeps_its_secret_key(tmp_path: Any) -> None:
    code = "from django.conf import settings; print(settings.SECRET_KEY)"
    first, second = (
        run("shell", "-v0", "-c", code, VAR_DIR=str(tmp_path)).stdout for _ in range(2)
    )
    assert len(first.strip()) > 50
    assert first == second


@pytest.mark.slow
def test_one_machine_makes_its_folder_whatever_names_the_database(
    tmp_path: Any,
) -> None:
    url = f"sqlite:///{tmp_path}/own.sqlite3"
    done = run("check", VAR_DIR=str(tmp_path / "new" / "var"), DATABASE_URL=url)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_one_machine_keeps_its_database_to_itself(tmp_path: Any) -> None:
    done = run("migrate", "-v0", VAR_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()}
    assert modes["platform.sqlite3"] == modes["secret_key"] == 0
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600
