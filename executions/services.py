"""The only door to executions: submit, cancel, wait, run, record an outcome, prune.

Views, commands and tasks call these and nothing below them.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.db import transaction

from executions import bells, outcomes, specs, statements
from executions import channel as channels
from executions.channel import ChannelDown, Control, News
from executions.models import Execution, IdempotencyKey
from platform_site import connections

if TYPE_CHECKING:
    from accounts.models import User
    from executions.runs import Run

logger = logging.getLogger(__name__)

OVERHEAD_MS = 15_000
"""What an attempt may take beyond its wall limits: sending, cleaning up, reporting."""

PRUNE_BATCH = 1000


def submit(
    *,
    owner: User,
    submission: specs.Submission,
    idempotency: Callable[[Execution], None] | None = None,
    will_wait: bool = False,
) -> Execution:
    """Store an execution and ring the workers' bell once the transaction commits.

    `idempotency` is called inside the transaction, right after the insert; what it
    raises undoes the insert. Costs one INSERT, and one message that carries nothing. A
    bell that cannot be rung is logged, never an error: the scheduler finds the row.
    With `will_wait` a call of `wait` soon after costs one query less.
    """
    execution = _execution(owner, submission)
    if will_wait:
        channels.current().expect(execution.pk)
    if idempotency is None:
        statements.insert(execution)
    else:
        with transaction.atomic():
            statements.insert(execution)
            idempotency(execution)
    if transaction.get_connection().in_atomic_block:
        transaction.on_commit(bells.ring)
    else:
        # Committed. To register it would open a connection for nothing else.
        bells.ring()
    return execution


def _execution(owner: User, submission: specs.Submission) -> Execution:
    limits, compile_limits = submission.limits, submission.compile_limits
    return Execution(
        owner=owner,
        runtime=submission.runtime,
        entry_point=submission.entry_point,
        files=[
            {"path": file.path, "content": base64.b64encode(file.content).decode()}
            for file in submission.files
        ],
        stdin=submission.stdin,
        args=list(submission.args),
        env=dict(submission.env),
        limits=limits.as_dict(),
        compile_limits=compile_limits.as_dict(),
        budget_ms=limits.wall_time_ms + compile_limits.wall_time_ms + OVERHEAD_MS,
    )


def cancel(execution: Execution) -> Execution:
    """Cancel, and return the row as it is now.

    A queued execution is cancelled at once. One that is starting or running is asked to
    end (its worker kills the program and records what it wrote so far), so the answer
    may still say running; a finished one is left as it is.
    """
    pk = execution.pk
    if Execution.objects.cancel_queued(pk):
        _announce(pk, "cancelled")
    elif Execution.objects.request_cancel(pk):
        try:
            channels.current().send(pk, Control("cancel"))
        except ChannelDown as error:
            # The owner sees it in the row when it renews its lease.
            logger.warning("the cancel of %s will take longer: %s", pk, error)
    elif Execution.objects.cancel_queued(pk):
        # Its worker gave it back between the two.
        _announce(pk, "cancelled")
    return Execution.objects.get(pk=pk)


def _announce(pk: UUID, status: str) -> None:
    try:
        channels.current().publish(pk, [News("finished", {"status": status})])
    except ChannelDown as error:
        logger.warning("the end of %s was not announced: %s", pk, error)


def wait(
    execution_id: UUID, timeout_s: float, *, known: Execution | None = None
) -> Execution:
    """Return the execution as soon as it is final, at the latest after `timeout_s`.

    With `known`, as it was submitted or read before, that object is returned, and only
    what may have changed is read.

    Waits by notification and gives the database connection back meanwhile, so that any
    number of threads may wait. Costs one query when it is final already, or when this
    process submitted it with `will_wait`, else two. Raises Execution.DoesNotExist.
    """
    deadline = time.monotonic() + timeout_s
    with channels.current().waiter(execution_id) as waiter:
        if waiter.is_early:
            # Nothing was missed since before it was stored: no look at the row needed.
            with connections.resting():
                waiter.wait(timeout_s)
        while True:
            if known is None:
                execution = Execution.objects.get(pk=execution_id)
            else:
                execution = statements.refresh(known)
            left = deadline - time.monotonic()
            if execution.is_final or left <= 0:
                return execution
            with connections.resting():
                waiter.wait(left)


def run(run: Run, *, is_adopted: bool = False) -> None:
    """See one run of this worker through; whatever goes wrong, it has an end.

    An adopted run whose owners keep dying is not looked at a last time: it is given up.
    """
    execution = run.execution
    try:
        if execution.adoptions >= settings.MAX_ATTEMPTS:
            _give_up(run)
        else:
            run.follow(is_adopted=is_adopted)
    except Exception:  # the task boundary
        logger.exception("run %s failed inside the worker", execution.key)
        run.try_again("an internal error, see the worker's log")


def _give_up(run: Run) -> None:
    """Record that nobody survives this run, without reading what it says."""
    run.record(
        outcomes.failure(
            f"{run.execution.adoptions} workers were lost while they followed this run"
        )
    )
    run.discard()


def give_up_unreachable() -> int:
    """See to runs on machines that stay away; returns how many there were.

    Each gets another attempt, or ends as system_error after the last.
    """
    lost = Execution.objects.out_of_reach()
    reason = "the machine that ran it did not come back"
    again = lost.filter(failures__lt=settings.MAX_ATTEMPTS - 1).requeue_all()
    over = list(lost.values_list("pk", flat=True))
    for pk in over:
        if (
            Execution.objects.out_of_reach()
            .filter(pk=pk)
            .fail(**outcomes.failure(f"the platform failed: {reason}"))
        ):
            _announce(pk, "finished")
    if again:
        bells.ring(again)
    return again + len(over)


def prune(*, older_than: timedelta, dry_run: bool = False) -> int:
    """Delete executions that ended before; returns how many. Never touches others.

    Works in batches, each a transaction of its own.
    """
    old = Execution.objects.recorded_before(older_than)
    if dry_run:
        return old.count()
    total = 0
    ended = old.order_by().values_list("pk", flat=True)
    while batch := list(ended[:PRUNE_BATCH]):
        total += (
            Execution.objects.filter(pk__in=batch)
            .only("pk")  # Django reads what it deletes: megabytes for each
            .delete()[1]
            .get("executions.Execution", 0)
        )
    return total


def prune_idempotency_keys() -> int:
    """Delete keys older than IDEMPOTENCY_RETENTION_HOURS; returns how many."""
    age = timedelta(hours=settings.IDEMPOTENCY_RETENTION_HOURS)
    return IdempotencyKey.objects.older_than(age).delete()[0]
