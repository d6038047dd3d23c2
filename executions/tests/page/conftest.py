"""The cast, and executions in any state, for the tests of pages and admin."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from executions.limits import Limits
from executions.models import Execution

PASSWORD = "correct horse battery"
MakeExecution = Callable[..., Execution]


def log_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """The usual hash takes most of a second on purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner", password=PASSWORD)


@pytest.fixture
def stranger(db: None) -> User:
    return User.objects.create_user("stranger", password=PASSWORD)


@pytest.fixture
def staff(db: None) -> User:
    return User.objects.create_superuser("staff", password=PASSWORD)


@pytest.fixture
def page(owner: User) -> Client:
    """A browser without JavaScript in which the owner is logged in."""
    return log_in(owner)


def stored_file(path: str, content: bytes) -> dict[str, str]:
    return {"path": path, "content": base64.b64encode(content).decode()}


def stage(**facts: Any) -> dict[str, Any]:
    """Return what a row keeps of one stage that went well."""
    usual = {
        "end": "exited",
        "exit_code": 0,
        "signal": None,
        "cpu_time_ms": 12,
        "wall_time_ms": 15,
        "memory_peak_bytes": 9_000_000,
        "measured_by": "cgroup",
    }
    return {**usual, **facts}


@pytest.fixture
def make_execution(owner: User) -> MakeExecution:
    """Store an execution; what is not named is that of a finished hello."""

    def make(**fields: Any) -> Execution:
        status = fields.get("status", "finished")
        usual: dict[str, Any] = {
            "owner": owner,
            "runtime": "python",
            "entry_point": "main.py",
            "files": [stored_file("main.py", b"print('hello')\n")],
            "limits": Limits().as_dict(),
            "compile_limits": Limits().as_dict(),
            "status": status,
        }
        if status == "finished":
            usual |= {
                "verdict": "ok",
                "result": {"compile": None, "run": stage()},
                "started_at": timezone.now(),
                "recorded_at": timezone.now(),
                "sent_ms": 3,
                "ended_ms": 20,
            }
        execution = Execution.objects.create(**{**usual, **fields})
        execution.refresh_from_db()
        return execution

    return make
