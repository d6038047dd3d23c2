"""The cast of the API's tests: an owner, a member of staff and a stranger."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from accounts.models import ApiKey, User
from executions.models import Execution

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
