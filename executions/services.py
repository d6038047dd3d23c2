"""The only door to executions: submit, cancel, wait, run, record an outcome, prune.

Views, commands and tasks call these and nothing below them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from executions import specs
from executions.models import Execution

if TYPE_CHECKING:
    from accounts.models import User


def submit(
    *,
    owner: User,
    submission: specs.Submission,
    idempotency: Callable[[Execution], None] | None = None,
) -> Execution:
    """Store an execution and ring the workers' bell once the transaction commits.

    `idempotency` is called inside the transaction, right after the insert; what it
    raises undoes the insert. Costs one INSERT, and one message that carries nothing. A
    bell that cannot be rung is logged, never an error: the scheduler finds the row.
    """
    raise NotImplementedError


def cancel(execution: Execution) -> Execution:
    """Cancel, and return the row as it is now.

    A queued execution is cancelled at once. One that is starting or running is asked to
    end (its worker kills the program and records what it wrote so far), so the answer
    may still say running; a finished one is left as it is.
    """
    raise NotImplementedError


def wait(execution_id: UUID, timeout_s: float) -> Execution:
    """Return the execution as soon as it is final, at the latest after `timeout_s`.

    Waits by notification and gives the database connection back meanwhile, so that any
    number of threads may wait. Costs one query when it is final already, else two.
    Raises Execution.DoesNotExist.
    """
    raise NotImplementedError
