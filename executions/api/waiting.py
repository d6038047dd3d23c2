"""How many requests of one web process may wait for programs: each holds a thread."""

from __future__ import annotations

import threading
from functools import cache

from django.conf import settings
from django.db import OperationalError

from executions import services
from executions.api.errors import ApiError
from executions.models import Execution


@cache
def _places() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(settings.WEB_MAX_WAITERS)


def wait(
    execution: Execution, timeout_s: float, *, is_needed: bool = False
) -> Execution:
    """Return the execution when it has ended, at the latest after `timeout_s`.

    With all places taken it is returned as it is; when the wait `is_needed`, as nothing
    else was asked for, that is refused instead: a client would ask again at once.
    """
    if not _places().acquire(blocking=False):
        if is_needed:
            raise ApiError("unavailable", "Too many requests are waiting already.")
        return execution
    try:
        return services.wait(execution.id, timeout_s)
    except OperationalError:
        # A thousand may wake at once, and more than the pool serves in its time.
        return services.wait(execution.id, 0)
    finally:
        _places().release()
