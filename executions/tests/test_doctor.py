"""The doctor names what is missing, how to get it, and fails when nothing can run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from executions import backends, diagnosis
from executions.diagnosis import Finding, State

ROOT = Path(__file__).resolve().parents[2]


def doctor(env: dict[str, str]) -> tuple[int, dict[str, Finding], str]:
    """Run the real command in a process of its own; return code, parts, errors."""
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    report = json.loads(done.stdout)
    parts = {part["part"]: Finding(**part) for part in report["parts"]}
    assert report["can_run"] == (done.returncode == 0)
    return done.returncode, parts, done.stderr


def look() -> dict[str, Finding]:
    return {finding.part: finding for finding in diagnosis.findings()}


@pytest.mark.slow
def test_doctor_names_migrations_that_were_not_applied(tmp_path: Path) -> None:
    code, parts, stderr = doctor({"VAR_DIR": str(tmp_path), "SANDBOX_BACKEND": "fake"})
    assert code == 1
    assert parts["migrations"].state == State.MISSING
    assert parts["migrations"].remedy == "manage.py migrate"
    assert "cannot be run here: migrations" in stderr


@pytest.mark.slow
def test_doctor_looks_at_the_rest_when_the_database_is_down(tmp_path: Path) -> None:
    code, parts, _ = doctor(
        {
            "VAR_DIR": str(tmp_path),
            "SANDBOX_BACKEND": "fake",
            "DATABASE_URL": "postgres://someone:geheim@127.0.0.1:1/platform",
        }
    )
    assert code == 1
    assert parts["database"].state == State.MISSING
    assert "postgres://127.0.0.1:1/platform" in parts["database"].found
    assert "refused" in parts["database"].found
    assert "geheim" not in str(parts)
    assert "migrations" not in parts
    assert "sandbox" in parts


@pytest.mark.django_db
def test_doctor_says_which_broker_does_not_answer(settings: Settings) -> None:
    settings.CELERY_BROKER_URL = "redis://:geheim@127.0.0.1:1/3"
    found = look()["broker"]
    assert found.state == State.MISSING
    assert found.found.startswith("redis://127.0.0.1:1/3 does not answer")
    assert "geheim" not in found.found
    assert "CELERY_BROKER_URL" in found.remedy


@pytest.mark.django_db
def test_doctor_wants_a_state_folder_to_write_to(settings: Settings) -> None:
    settings.SANDBOX_BACKEND = "jail"
    settings.SANDBOX_STATE_DIR = "/proc/no/such/folder"
    assert diagnosis._state_folder().state == State.MISSING


@pytest.mark.django_db
def test_doctor_refuses_a_backend_that_does_not_exist(
    settings: Settings,
) -> None:
    settings.SANDBOX_BACKEND = "hope"
    backends.close()
    assert "hope" in look()["sandbox"].found


@pytest.mark.django_db
def test_doctor_warns_of_limits_that_are_not_enforced(
    settings: Settings,
) -> None:
    settings.SANDBOX_BACKEND = "plain"
    backends.close()
    found = look()["sandbox"]
    backends.close()
    assert found.state == State.WARNING
    assert "memory_bytes" in found.found


@pytest.mark.django_db
def test_doctor_ends_without_error_when_all_is_well(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("doctor")
    assert "programs can be run here" in capsys.readouterr().out


@pytest.mark.django_db
def test_doctor_prints_a_line_for_each_part(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/3"
    with pytest.raises(CommandError, match="cannot be run here: broker"):
        call_command("doctor")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines][:3] == ["python", "settings", "database"]


@pytest.mark.jail
def test_doctor_finds_all_that_jails_need(tmp_path: Path) -> None:
    env = {"VAR_DIR": str(tmp_path), "SANDBOX_BACKEND": "jail", "DATABASE_URL": ""}
    manage: Any = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
    subprocess.run(manage, cwd=ROOT, env={**os.environ, **env}, check=True, timeout=60)
    code, parts, stderr = doctor(env)
    assert code == 0, stderr
    for part in ("state folder", "namespaces", "cgroups", "seccomp", "sandbox"):
        assert parts[part].state == State.OK, parts[part]
    # Nothing was compiled for this folder yet.
    assert parts["caches"].state == State.WARNING
