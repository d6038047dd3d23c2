"""What is stored and read past the ORM is what the ORM would store and read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from accounts.models import User
from executions import statements
from executions.models import Execution, Status

pytestmark = pytest.mark.django_db

SUBMITTED: dict[str, Any] = {
    "runtime": "python",
    "entry_point": "ünï.py",
    "files": [{"path": "ünï.py", "content": "AA=="}],
    "stdin": b"\x00\xff'%s",
    "args": ["%s", "'", "ü"],
    "env": {"A": "1"},
    "limits": {"cpu_time_ms": 1},
    "compile_limits": {"cpu_time_ms": 2},
    "budget_ms": 12_345,
}
CHANGED: dict[str, Any] = {
    "status": Status.FINISHED,
    "attempt": 2,
    "failures": 1,
    "adoptions": 1,
    "lease_id": uuid4(),
    "lease_owner": "worker",
    "lease_until": datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC),
    "sandbox": "here",
    "deadline_at": datetime(2030, 1, 2, 3, 4, 6, tzinfo=UTC),
    "cancel_requested_at": datetime(2030, 1, 2, 3, 4, 7, tzinfo=UTC),
    "verdict": "ok",
    "reason": "because",
    "result": {"run": {"end": "exited"}, "compile": None},
    "stdout": b"\x00\xff",
    "stderr": b"err",
    "compile_stdout": b"c",
    "compile_stderr": b"d",
    "started_at": datetime(2030, 1, 2, 3, 4, 8, tzinfo=UTC),
    "sent_ms": 1,
    "first_output_ms": 2,
    "ended_ms": 3,
    "recorded_at": datetime(2030, 1, 2, 3, 4, 9, tzinfo=UTC),
}
NAMES = [field.attname for field in Execution._meta.concrete_fields]
CLOCKS = ("due_at", "queued_at")


def values(execution: Execution) -> dict[str, Any]:
    found = {name: getattr(execution, name) for name in NAMES}
    # PostgreSQL hands out memory views.
    return {n: bytes(v) if isinstance(v, memoryview) else v for n, v in found.items()}


def inserted(owner: User) -> Execution:
    execution = Execution(owner=owner, **SUBMITTED)
    statements.insert(execution)
    return execution


def test_an_inserted_row_is_the_one_that_the_orm_would_save(owner: User) -> None:
    saved = Execution.objects.create(owner=owner, **SUBMITTED)
    execution = inserted(owner)
    stored = values(Execution.objects.get(pk=execution.pk))
    expected = values(Execution.objects.get(pk=saved.pk)) | {"id": execution.pk}
    for name in CLOCKS:
        assert abs(stored[name] - expected.pop(name)) < timedelta(seconds=30)
    assert {name: stored[name] for name in expected} == expected


def test_an_inserted_object_is_what_is_stored(owner: User) -> None:
    execution = inserted(owner)
    assert values(execution) == values(Execution.objects.get(pk=execution.pk))
    assert not execution._state.adding
    assert execution._state.db == "default"


def test_each_insert_stores_its_own_values(owner: User) -> None:
    first, second = inserted(owner), Execution(owner=owner, **SUBMITTED)
    second.args = ["other"]
    statements.insert(second)
    assert Execution.objects.get(pk=first.pk).args == SUBMITTED["args"]
    assert Execution.objects.get(pk=second.pk).args == ["other"]


def test_refresh_reads_what_the_orm_would_read(owner: User) -> None:
    execution = inserted(owner)
    Execution.objects.filter(pk=execution.pk).update(**CHANGED)
    assert statements.refresh(execution) is execution
    assert values(execution) == values(Execution.objects.get(pk=execution.pk))


def test_whatever_may_change_is_read_again() -> None:
    assert set(NAMES) == statements.SUBMITTED | set(CHANGED) | set(CLOCKS)
    assert {"id", "owner_id", *SUBMITTED} == statements.SUBMITTED


def test_refresh_raises_for_what_is_gone(owner: User) -> None:
    execution = inserted(owner)
    Execution.objects.filter(pk=execution.pk).delete()
    with pytest.raises(Execution.DoesNotExist):
        statements.refresh(execution)
