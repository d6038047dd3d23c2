"""Cancelled or finished, never both, whenever the request comes."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest

from executions import services
from executions.models import Execution, Status
from executions.sandbox.fake import HOLD, FakeSandbox, finished
from executions.tests.core.conftest import (
    SCOPE,
    Submit,
    beside,
    eventually,
    lease,
    reload,
)
from executions.worker import Worker

pytestmark = pytest.mark.django_db(transaction=True)


def test_cancel_ends_a_queued_execution(execution: Execution, worker: Worker) -> None:
    row = services.cancel(execution)
    assert (row.status, row.verdict) == (Status.CANCELLED, None)
    assert row.reason == "cancelled before it started"
    worker.work()
    assert reload(execution).attempt == 0


def test_cancel_kills_a_running_program_and_keeps_its_output(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    sandbox.script(HOLD)
    thread = beside(worker.work)
    run = eventually(lambda: sandbox.runs.get(reload(execution).key))
    run.emit(b"so far")
    services.cancel(execution)
    thread.join(10)
    row = reload(execution)
    assert run.is_cancelled
    assert (row.status, row.verdict, row.reason) == (
        Status.CANCELLED,
        None,
        "cancelled",
    )
    assert bytes(row.stdout) == b"so far"
    assert row.cancel_requested_at is not None


def test_cancel_leaves_a_finished_execution(
    execution: Execution, worker: Worker
) -> None:
    worker.work()
    before = reload(execution)
    assert services.cancel(before).status == Status.FINISHED
    assert reload(execution).cancel_requested_at is None


def test_cancel_between_claim_and_start_starts_nothing(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    mine = lease(worker.name)
    claimed = Execution.objects.claim_next(mine, SCOPE)
    assert claimed is not None
    services.cancel(execution)
    # The notice may come a moment after the program was started.
    sandbox.script(HOLD)
    worker.run(claimed, mine)
    assert reload(execution).status == Status.CANCELLED
    assert not sandbox.runs or sandbox.run(claimed.key).is_cancelled


def test_cancel_reaches_an_owner_that_heard_nothing(
    execution: Execution,
    sandbox: FakeSandbox,
    make_worker: Callable[..., Worker],
    settings: object,
) -> None:
    settings.LEASE_RENEW_S = 0.1  # type: ignore[attr-defined]
    worker = make_worker()
    sandbox.script(HOLD)
    thread = beside(worker.work)
    eventually(lambda: sandbox.runs)
    assert Execution.objects.request_cancel(execution.pk)
    thread.join(10)
    assert reload(execution).status == Status.CANCELLED


def test_cancel_at_any_moment_gives_one_end(
    submit: Submit, worker: Worker, sandbox: FakeSandbox
) -> None:
    chance = random.Random(7)
    for _ in range(30):
        execution = submit()
        sandbox.script(finished() if chance.random() < 0.5 else HOLD)
        thread = beside(worker.work)
        delay_s = chance.random() * 0.01
        canceller = beside(partial(services.cancel, execution), delay_s=delay_s)
        canceller.join(10)
        thread.join(10)
        row = reload(execution)
        assert row.is_final
        assert (row.status == Status.CANCELLED) == (row.verdict is None)
        sandbox._scripts.clear()
