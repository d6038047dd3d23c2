"""How many requests of one web process may wait for programs: each holds a thread."""

from __future__ import annotations

import threading
from functools import cache

from django.conf import settings
from django.db import OperationalError

from executions import services
from executions.models import Execution


class TooManyWaiters(Exception):
    """Every place is taken; the execution is to be had without waiting."""


@cache
def _places() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(settings.WEB_MAX_WAITERS)


def wait(execution: Execution, timeout_s: float) -> Execution:
    """Return this object when its execution has ended, at the latest after `timeout_s`.

    Raises TooManyWaiters at once when there is no place, and Execution.DoesNotExist.
    """
    if not _places().acquire(blocking=False):
        raise TooManyWaiters
    try:
        return services.wait(execution.pk, timeout_s, known=execution)
    except OperationalError:
        # A thousand may wake at once, and more than the pool serves in its time.
        return services.wait(execution.pk, 0, known=execution)
    finally:
        _places().release()
