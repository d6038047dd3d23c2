from __future__ import annotations

from typing import Any

import pytest

from executions import channel as channels
from executions import waiting
from executions.models import Execution
from executions.tests.api.conftest import HELLO, Caller


@pytest.mark.parametrize("path", ["/api/health/", "/api/health"])
def test_health_asks_no_database(nobody: Caller, path: str) -> None:
    # pytest-django lets no query through here.
    answer = nobody.get(path, Host="10.1.2.3:8002")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_ready_tells_part_by_part(db: None, nobody: Caller) -> None:
    answer = nobody.get("/api/ready/")
    told = answer.json()
    assert set(told["parts"]) == {"database", "broker", "worker", "sandbox"}
    assert told["parts"]["database"] == {"ok": True, "problem": ""}
    assert told["ready"] is all(part["ok"] for part in told["parts"].values())
    assert answer.status_code == (200 if told["ready"] else 503)


def test_ready_knows_whether_a_worker_lives(db: None, nobody: Caller) -> None:
    channels.current().beat("somebody", 20)
    assert nobody.get("/api/ready").json()["parts"]["worker"]["ok"] is True


@pytest.fixture
def no_places(settings: Any) -> Any:
    settings.WEB_MAX_WAITERS = 0
    waiting._places.cache_clear()
    yield
    waiting._places.cache_clear()


def test_a_submit_does_not_wait_without_a_place(owner: Caller, no_places: None) -> None:
    answer = owner.post("/api/v1/executions?wait=60", HELLO)
    assert (answer.status_code, answer.json()["status"]) == (201, "queued")


def test_a_read_that_cannot_wait_is_refused(
    owner: Caller, no_places: None, execution: Execution
) -> None:
    path = f"/api/v1/executions/{execution.id}"
    answer = owner.get(f"{path}?wait=60")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert owner.get(path).status_code == 200
