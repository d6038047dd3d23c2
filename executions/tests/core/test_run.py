"""A worker follows a run from its claim to its stored outcome."""

from __future__ import annotations

from typing import Any, Self

import pytest

from accounts.models import User
from executions import bells, services
from executions.channel import Channel, Control
from executions.models import Execution, Status
from executions.sandbox.base import (
    End,
    NoSandboxNow,
    Outcome,
    Output,
    SandboxError,
    SandboxGone,
    SandboxUnavailable,
)
from executions.sandbox.fake import HOLD, NEVER, FakeSandbox, finished, stage
from executions.tests.core.conftest import (
    Submit,
    beside,
    eventually,
    reload,
    submission,
)
from executions.verdicts import Verdict
from executions.worker import Worker


def stored_stage(row: Execution) -> Any:
    assert row.result is not None
    return row.result["run"]


pytestmark = pytest.mark.django_db(transaction=True)


def test_run_stores_outcome_and_timings(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    sandbox.script(finished(stdout=b"42\n"))
    worker.work()
    row = reload(execution)
    assert (row.status, row.verdict) == (Status.FINISHED, Verdict.OK)
    assert bytes(row.stdout) == b"42\n"
    assert stored_stage(row)["exit_code"] == 0
    moments: list[Any] = [
        row.queued_at,
        row.started_at,
        row.sent_at,
        row.first_output_at,
        row.ended_at,
    ]
    assert moments == sorted(moments)
    assert sandbox.run(row.key).is_acknowledged


def test_run_sends_what_was_submitted(
    submit: Submit, worker: Worker, sandbox: FakeSandbox
) -> None:
    execution = submit(b"\x00\xff", stdin=b"in", args=("a b",), env={"NAME": "value"})
    worker.work()
    spec = sandbox.run(reload(execution).key).spec
    assert [(file.path, file.content) for file in spec.files] == [
        ("main.py", b"\x00\xff")
    ]
    assert (spec.cases[0].stdin, spec.cases[0].args) == (b"in", ("a b",))
    assert spec.run.env["NAME"] == "value"


def test_run_stores_where_cut_output_meets(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    cut = stage()
    output = Output(head=b"head", tail=b"tail", dropped_bytes=7)
    sandbox.script(
        Outcome(None, (type(cut)(End.EXITED, cut.limits, 0, stdout=output),))
    )
    worker.work()
    row = reload(execution)
    assert bytes(row.stdout) == b"headtail"
    assert stored_stage(row)["stdout"] == {"head_bytes": 4, "dropped_bytes": 7}
    assert row.verdict == Verdict.OUTPUT_LIMIT


def test_run_stores_reasons_that_hold_nul(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    failed = stage(end=End.FAILED, exit_code=None, message="bad \0 \ud800 name")
    sandbox.script(Outcome(None, (failed,)))
    worker.work()
    assert "bad" in stored_stage(reload(execution))["message"]


def test_run_goes_on_while_more_is_due(submit: Submit, worker: Worker) -> None:
    rows = [submit(), submit(), submit()]
    worker.work()
    assert {reload(row).status for row in rows} == {Status.FINISHED}


def test_run_tells_its_news(
    execution: Execution, worker: Worker, sandbox: FakeSandbox, news: Channel
) -> None:
    sandbox.script(finished(stdout=b"out", stderr=b"err"))
    worker.work()
    told = list(news.follow(execution.pk, timeout_s=5))
    assert [item.kind for item in told] == ["stage", "output", "output", "finished"]
    assert [item.data for item in told[1:3]] == [b"out", b"err"]
    assert told[-1].fields == {"status": "finished"}


@pytest.mark.parametrize("error", [SandboxGone, SandboxError])
def test_run_starts_again_when_its_sandbox_fails(
    execution: Execution,
    worker: Worker,
    sandbox: FakeSandbox,
    error: type[SandboxError],
) -> None:
    sandbox.script(error("it broke"), finished())
    worker.work()
    assert reload(execution).status == Status.QUEUED
    worker.work()
    row = reload(execution)
    assert (row.verdict, row.attempt) == (Verdict.OK, 2)


def test_run_waits_before_it_starts_again_without_a_sandbox(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    sandbox.script(SandboxUnavailable("no room"))
    worker.work()
    row = reload(execution)
    assert row.status == Status.QUEUED
    assert row.due_at > row.queued_at


def test_run_waits_in_the_queue_while_there_are_no_sandboxes(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    for number in range(5):  # more than attempts are allowed
        sandbox.script(NoSandboxNow("the API server cannot be asked"))
        worker.work()
        row = reload(execution)
        assert (row.status, row.attempt, row.failures) == (
            Status.QUEUED,
            number + 1,
            0,
        )
        assert row.due_at > row.queued_at
        assert "the API server cannot be asked" in row.reason
        Execution.objects.update(due_at=row.queued_at)
    worker.work()
    assert reload(execution).verdict == Verdict.OK


def test_run_does_not_wait_for_ever_for_a_sandbox(
    execution: Execution, worker: Worker, sandbox: FakeSandbox, settings: Any
) -> None:
    settings.SANDBOX_PATIENCE_S = 0
    sandbox.script(*(NoSandboxNow("no room") for _ in range(settings.MAX_ATTEMPTS)))
    for _ in range(settings.MAX_ATTEMPTS):
        Execution.objects.update(due_at=execution.queued_at)
        worker.work()
    row = reload(execution)
    assert row.verdict == Verdict.SYSTEM_ERROR
    assert "no room" in row.reason


def test_run_is_cancelled_while_it_waits_for_its_sandbox(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    sandbox.script(NEVER)
    thread = beside(worker.work)
    eventually(lambda: sandbox.waiting)
    services.cancel(execution)
    thread.join(10)
    row = reload(execution)
    assert (row.status, row.reason) == (
        Status.CANCELLED,
        "cancelled before it started",
    )
    assert sandbox.discarded == [row.key]


def test_run_that_waits_for_its_sandbox_is_given_back(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    sandbox.script(NEVER)
    thread = beside(worker.work)
    eventually(lambda: sandbox.waiting)
    worker.stop()
    thread.join(10)
    row = reload(execution)
    assert (row.status, row.attempt, row.failures) == (Status.QUEUED, 1, 0)
    assert sandbox.discarded == [row.key]


def test_run_that_waits_for_its_sandbox_is_not_overdue(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    Execution.objects.update(budget_ms=1)
    sandbox.script(NEVER)
    thread = beside(worker.work)
    eventually(lambda: sandbox.waiting)
    (run,) = worker.runs()
    assert run.overdue_s < 0
    worker.stop()
    thread.join(10)


def test_run_is_given_up_after_three_attempts(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    sandbox.script(*(SandboxGone("it broke") for _ in range(3)))
    for _ in range(3):
        worker.work()
    row = reload(execution)
    assert (row.status, row.verdict) == (Status.FINISHED, Verdict.SYSTEM_ERROR)
    assert row.reason == (
        "the platform failed in 3 attempts: the sandbox is gone: it broke"
    )


def test_run_of_an_unknown_runtime_ends_as_system_error(
    submit: Submit, worker: Worker
) -> None:
    execution = submit(runtime="none-such")
    for _ in range(3):
        worker.work()
    assert reload(execution).verdict == Verdict.SYSTEM_ERROR


def test_run_is_marked_once_its_program_runs(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    sandbox.script(HOLD)
    thread = beside(worker.work)
    eventually(lambda: reload(execution).status == Status.RUNNING)
    sandbox.run(reload(execution).key).finish(finished())
    thread.join(10)
    assert reload(execution).status == Status.FINISHED


def test_wait_returns_once_the_run_is_final(
    execution: Execution, worker: Worker, sandbox: FakeSandbox
) -> None:
    sandbox.script(HOLD)
    thread = beside(worker.work)
    eventually(lambda: execution.pk and sandbox.runs)
    beside(lambda: sandbox.run(reload(execution).key).finish(finished()), delay_s=0.2)
    assert services.wait(execution.pk, 20).verdict == Verdict.OK
    thread.join(10)


def test_wait_returns_the_row_as_it_is_when_time_is_up(execution: Execution) -> None:
    assert services.wait(execution.pk, 0.05).status == Status.QUEUED


def test_wait_raises_for_what_is_not_there(execution: Execution) -> None:
    execution.delete()
    with pytest.raises(Execution.DoesNotExist):
        services.wait(execution.id, 1)


def test_wait_for_what_was_submitted_here_costs_one_query(
    owner: User,
    worker: Worker,
    django_assert_num_queries: Any,
) -> None:
    execution = services.submit(owner=owner, submission=submission(), will_wait=True)
    beside(worker.work, delay_s=0.1)
    with django_assert_num_queries(1):
        assert services.wait(execution.pk, 20).verdict == Verdict.OK


def test_wait_hears_of_an_end_that_came_before_it(owner: User, worker: Worker) -> None:
    execution = services.submit(owner=owner, submission=submission(), will_wait=True)
    worker.work()
    assert services.wait(execution.pk, 20).verdict == Verdict.OK


class Full(bytearray):
    """Input that a program does not read, when there is too much of it."""

    def __iadd__(self, data: Any) -> Self:  # type: ignore[misc]
        raise BufferError("the program does not read its input")


def test_run_goes_on_when_its_input_is_not_read(
    execution: Execution, worker: Worker, sandbox: FakeSandbox, news: Channel
) -> None:
    sandbox.script(HOLD)
    thread = beside(worker.work)
    run = eventually(lambda: sandbox.runs.get(f"{execution.id}-1"))
    eventually(lambda: run.followers)
    run.stdin = Full()
    news.send(execution.id, Control("stdin", b"too much"))
    run.finish(finished(stdout=b"all the same"))
    thread.join(10)
    assert bytes(reload(execution).stdout) == b"all the same"


@pytest.mark.slow
def test_a_thread_that_is_done_stays_for_the_next_bell(
    worker: Worker, sandbox: FakeSandbox, submit: Submit
) -> None:
    sandbox.script(finished())
    first = submit()
    while bells.hear(0.1):
        pass  # what brings a thread is off the queue by then
    thread = beside(worker.attend)
    eventually(lambda: reload(first).is_final)
    second = submit()  # rings
    eventually(lambda: reload(second).is_final)
    assert bells.unheard() == 0
    worker.stop()
    thread.join(10)
    assert not thread.is_alive()
