"""A submission becomes a row, and a bell that carries nothing."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from accounts.models import User
from executions import bells, services
from executions.models import Execution, Status
from executions.sandbox.base import SourceFile
from executions.tests.core.conftest import Submit, reload, submission


def test_submit_stores_what_was_submitted(owner: User) -> None:
    sent = submission(
        b"\x00\xff", stdin=b"\x00in", args=("a", "b"), env={"NAME": "value"}
    )
    stored = reload(services.submit(owner=owner, submission=sent))
    assert stored.status == Status.QUEUED
    assert stored.owner == owner
    assert base64.b64decode(stored.files[0]["content"]) == b"\x00\xff"
    assert bytes(stored.stdin) == b"\x00in"
    assert (stored.args, stored.env) == (["a", "b"], {"NAME": "value"})
    assert stored.limits == sent.limits.as_dict()
    assert (stored.verdict, stored.result, stored.attempt) == (None, None, 0)


def test_submit_rings_once_the_row_is_committed(
    owner: User, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as rung:
        services.submit(owner=owner, submission=submission())
    assert rung == [bells.ring]


@pytest.mark.django_db(transaction=True)
def test_submit_costs_one_insert(owner: User, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        services.submit(owner=owner, submission=submission())


def test_submit_undoes_the_insert_when_idempotency_refuses(owner: User) -> None:
    class Refused(Exception):
        pass

    def refuse(_: Execution) -> None:
        raise Refused

    with pytest.raises(Refused):
        services.submit(owner=owner, submission=submission(), idempotency=refuse)
    assert not Execution.objects.exists()


def test_submit_allows_for_both_wall_limits(submit: Submit) -> None:
    execution = submit(files=(SourceFile("main.py", b""),))
    limits = execution.limits["wall_time_ms"] + execution.compile_limits["wall_time_ms"]
    assert execution.budget_ms > limits
