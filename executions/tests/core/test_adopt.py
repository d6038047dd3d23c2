"""Runs outlive their owners: what is handed over or left behind finds another."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from executions import outcomes, services
from executions.models import Execution, Status
from executions.sandbox.base import SandboxUnavailable
from executions.sandbox.fake import HOLD, NEVER, FakeRun, FakeSandbox, finished
from executions.tests.core.conftest import (
    SCOPE,
    beside,
    eventually,
    expire,
    lease,
    reload,
)
from executions.verdicts import Verdict
from executions.worker import Worker

pytestmark = pytest.mark.django_db(transaction=True)

MakeWorker = Callable[..., Worker]


@pytest.fixture
def held(execution: Execution, sandbox: FakeSandbox) -> FakeRun:
    """A run that goes on in its sandbox, and whose owner is dead."""
    sandbox.script(HOLD)
    claimed = Execution.objects.claim_next(lease("dead"), SCOPE)
    assert claimed is not None
    from executions.runs import spec_of  # noqa: PLC0415

    sandbox.start(spec_of(claimed))
    return sandbox.run(claimed.key)


def test_adopt_follows_what_a_dead_owner_left(
    execution: Execution, held: FakeRun, make_worker: MakeWorker, settings: Any
) -> None:
    settings.LEASE_LENGTH_S = 0.3
    expire(execution)
    make_worker("second")
    held.emit(b"before ")
    eventually(lambda: held.followers)
    held.emit(b"after")
    held.finish(finished(stdout=b"before after"))
    row = services.wait(execution.pk, 20)
    assert (row.verdict, row.attempt, row.adoptions) == (Verdict.OK, 1, 1)
    assert bytes(row.stdout) == b"before after"
    eventually(lambda: held.is_acknowledged)


@pytest.mark.slow
def test_adopt_waits_one_lease_length_before_it_judges(
    execution: Execution, held: FakeRun, make_worker: MakeWorker, settings: Any
) -> None:
    settings.LEASE_LENGTH_S = 2.0
    expire(execution)
    began = time.monotonic()
    make_worker()
    eventually(lambda: held.followers)
    assert time.monotonic() - began >= 2.0


def test_adopt_takes_what_was_handed_over_at_once(
    execution: Execution, held: FakeRun, make_worker: MakeWorker
) -> None:
    first = lease("first")
    owner_lease = reload(execution).lease_id
    assert owner_lease
    first.id = owner_lease
    assert Execution.objects.hand_over(execution, first)
    make_worker()
    eventually(lambda: held.followers)
    assert reload(execution).adoptions == 0


def test_adopt_leaves_other_machines_runs(execution: Execution) -> None:
    Execution.objects.claim_next(lease("dead"), "elsewhere")
    expire(execution)
    assert Execution.objects.adopt_next(lease(), SCOPE, judges=True) is None


def test_adopt_starts_again_what_has_no_sandbox(
    execution: Execution, make_worker: MakeWorker, settings: Any
) -> None:
    settings.LEASE_LENGTH_S = 0.3
    Execution.objects.claim_next(lease("dead"), SCOPE)
    expire(execution)
    worker = make_worker()
    eventually(lambda: reload(execution).status == Status.QUEUED)
    worker.work()
    row = reload(execution)
    assert (row.verdict, row.attempt) == (Verdict.OK, 2)


def test_adopt_counts_no_failure_when_the_sandbox_had_not_started(
    execution: Execution, sandbox: FakeSandbox, make_worker: MakeWorker, settings: Any
) -> None:
    from executions.runs import spec_of  # noqa: PLC0415

    settings.LEASE_LENGTH_S = 0.3
    second = make_worker("second")
    for number in range(settings.MAX_ATTEMPTS + 1):
        claimed = Execution.objects.claim_next(lease("dead"), SCOPE)
        assert claimed is not None
        sandbox.script(NEVER)
        refused: list[SandboxUnavailable] = []

        def paused(claimed: Execution = claimed) -> None:
            try:
                sandbox.start(spec_of(claimed))
            except SandboxUnavailable as error:
                refused.append(error)  # noqa: B023 - joined below

        owner = beside(paused)
        eventually(lambda: sandbox.waiting)
        expire(execution)
        eventually(lambda: reload(execution).status == Status.QUEUED)
        owner.join(10)
        assert refused
        sandbox.waiting.clear()
        row = reload(execution)
        assert (row.attempt, row.failures, row.adoptions) == (number + 1, 0, 0)
    second.work()
    assert reload(execution).verdict == Verdict.OK


def test_adopt_waits_while_the_sandboxes_cannot_be_asked(
    execution: Execution,
    held: FakeRun,
    sandbox: FakeSandbox,
    make_worker: MakeWorker,
    settings: Any,
) -> None:
    settings.LEASE_LENGTH_S = 0.3
    sandbox.is_unreachable = True
    expire(execution)
    make_worker()
    eventually(lambda: reload(execution).lease_owner == "worker")
    assert reload(execution).status == Status.STARTING
    sandbox.is_unreachable = False
    eventually(lambda: held.followers)
    assert reload(execution).attempt == 1


def test_adopt_gives_up_a_run_that_ends_its_owners(
    execution: Execution, held: FakeRun, make_worker: MakeWorker, settings: Any
) -> None:
    settings.LEASE_LENGTH_S = 0.3
    expire(execution)
    Execution.objects.update(adoptions=settings.MAX_ATTEMPTS - 1)
    make_worker()
    row = services.wait(execution.pk, 20)
    assert row.verdict == Verdict.SYSTEM_ERROR
    assert row.reason == "3 workers were lost while they followed this run"
    eventually(lambda: held.is_dead)


def test_a_paused_owner_lets_go_without_a_word(
    execution: Execution, sandbox: FakeSandbox, make_worker: MakeWorker, settings: Any
) -> None:
    settings.LEASE_RENEW_S = 0.1
    sandbox.script(HOLD)
    thread = beside(make_worker("first").work)
    run = eventually(lambda: sandbox.runs.get(reload(execution).key))
    other = lease("other")
    Execution.objects.update(lease_id=other.id, lease_owner="other")
    thread.join(10)
    assert not run.is_acknowledged
    row = reload(execution)
    assert (row.lease_owner, row.lease_id) == ("other", other.id)
    assert not row.is_final


def test_a_paused_owner_does_not_start_the_program(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    mine = lease(worker.name)
    claimed = Execution.objects.claim_next(mine, SCOPE)
    assert claimed is not None
    mine.valid_until = time.monotonic() - 1
    worker.run(claimed, mine)
    assert not sandbox.runs


def test_a_stopping_worker_hands_its_runs_over(
    execution: Execution, sandbox: FakeSandbox, make_worker: MakeWorker
) -> None:
    sandbox.script(HOLD)
    first = make_worker("first")
    thread = beside(first.work)
    run = eventually(lambda: sandbox.runs.get(reload(execution).key))
    eventually(lambda: run.followers)
    first.stop()
    thread.join(10)
    assert not thread.is_alive()
    make_worker("second")
    eventually(lambda: reload(execution).lease_owner == "second")
    run.finish(finished(stdout=b"42\n"))
    row = services.wait(execution.pk, 20)
    assert (row.verdict, row.attempt, bytes(row.stdout)) == (Verdict.OK, 1, b"42\n")


def test_a_stopping_worker_claims_nothing_more(
    execution: Execution, worker: Worker
) -> None:
    worker.stop()
    worker.work()
    assert reload(execution).status == Status.QUEUED


def test_a_worker_that_sends_back_kills_and_queues_again(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    sandbox.script(HOLD)
    thread = beside(worker.work)
    run = eventually(lambda: sandbox.runs.get(reload(execution).key))
    worker.stop(hands_over=False)
    worker.send_back()
    thread.join(10)
    assert run.is_cancelled
    assert reload(execution).status == Status.QUEUED


def test_a_sandbox_that_does_not_keep_its_deadline_is_killed(
    execution: Execution, sandbox: FakeSandbox, make_worker: MakeWorker, settings: Any
) -> None:
    settings.LEASE_RENEW_S = 0.1
    Execution.objects.update(budget_ms=1)
    sandbox.script(HOLD)
    thread = beside(make_worker().work)
    run = eventually(lambda: sandbox.runs.get(reload(execution).key))
    thread.join(10)
    assert run.is_cancelled
    row = reload(execution)
    assert (row.status, row.attempt) == (Status.QUEUED, 1)


def test_an_outcome_whose_answer_was_lost_is_acknowledged(
    execution: Execution, sandbox: FakeSandbox, worker: Worker
) -> None:
    sandbox.script(HOLD)
    thread = beside(worker.work)
    run = eventually(lambda: sandbox.runs.get(reload(execution).key))
    # As after a commit that the worker never heard of.
    mine = lease(worker.name)
    held_id = reload(execution).lease_id
    assert held_id
    mine.id = held_id
    Execution.objects.record(execution, mine, **outcomes.columns(finished()))
    run.finish(finished())
    thread.join(10)
    eventually(lambda: run.is_acknowledged)
    assert reload(execution).verdict == Verdict.OK
