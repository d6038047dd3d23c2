"""Claims: one statement gives a due row to exactly one lease."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from executions import sql
from executions.models import Execution, Status
from executions.sandbox.base import SourceFile
from executions.tests.core.conftest import SCOPE, Submit, lease, reload


def claim(owner: str = "test") -> Execution | None:
    return Execution.objects.claim_next(lease(owner), SCOPE)


def test_claim_takes_one_statement(
    execution: Execution, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        assert claim() == execution


def test_claim_lets_only_one_through(execution: Execution) -> None:
    assert claim() == execution
    assert claim() is None


def test_claim_writes_who_owns_the_row_and_until_when(execution: Execution) -> None:
    mine = lease("somebody")
    Execution.objects.claim_next(mine, "jails:here")
    row = reload(execution)
    assert (row.status, row.attempt) == (Status.STARTING, 1)
    assert (row.lease_id, row.lease_owner) == (mine.id, "somebody")
    assert row.sandbox == "jails:here"
    assert row.started_at
    assert row.lease_until
    assert row.deadline_at
    assert row.lease_until - row.started_at == timedelta(seconds=15)
    allowed = timedelta(milliseconds=row.budget_ms)
    assert abs(row.deadline_at - row.started_at - allowed) < timedelta(seconds=1)


def test_claim_returns_what_a_worker_needs(submit: Submit) -> None:
    submit(b"print(1)", stdin=b"in", args=("x",), env={"A": "b"})
    found = claim()
    assert found is not None
    assert found.get_deferred_fields().isdisjoint(
        {"files", "stdin", "args", "env", "limits", "compile_limits", "runtime"}
    )
    assert (bytes(found.stdin), found.args, found.env) == (b"in", ["x"], {"A": "b"})


def test_claim_returns_values_as_the_model_does(submit: Submit) -> None:
    files = (SourceFile("main.py", b"\xc3\xa4"), SourceFile("data.json", b"\0"))
    submit(files=files, stdin=b"\xff\0", args=("x",), env={"A": "b"})
    found = claim()
    assert found is not None
    row = reload(found)
    for name in sql.CLAIMED:
        ours, theirs = found.__dict__[name], getattr(row, name)
        assert (type(ours), ours) == (type(theirs), theirs), name


def test_claim_tells_whether_another_one_is_due(submit: Submit) -> None:
    submit()
    submit()
    told = [found.has_more for found in (claim(), claim()) if found]
    assert told == [True, False]


def test_claim_takes_the_oldest_first(submit: Submit) -> None:
    older, newer = submit(), submit()
    assert [claim(), claim()] == [older, newer]


def test_claim_tells_whether_more_is_due(submit: Submit) -> None:
    submit(), submit()
    found = [claim(), claim()]
    assert [row.has_more for row in found if row] == [True, False]


def test_claim_leaves_rows_that_are_not_due_yet(execution: Execution) -> None:
    Execution.objects.update(due_at=Now() + timedelta(hours=1))
    assert claim() is None


def test_claim_leaves_cancelled_rows(execution: Execution) -> None:
    Execution.objects.cancel_queued(execution.pk)
    assert claim() is None


def test_claim_of_one_row_takes_that_row(submit: Submit) -> None:
    submit()
    mine = submit()
    assert Execution.objects.claim(mine.pk, lease(), SCOPE) == mine
    assert Execution.objects.claim(mine.pk, lease(), SCOPE) is None


@pytest.mark.django_db(transaction=True)
def test_claim_gives_each_row_once_to_many_at_a_time(submit: Submit) -> None:
    rows = {submit().pk for _ in range(40)}
    claimed: list[Any] = []
    together = threading.Barrier(6)

    def work() -> None:
        together.wait()
        while (row := claim()) is not None:
            claimed.append(row.pk)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(claimed) == len(rows)
    assert set(claimed) == rows
