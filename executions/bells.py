"""Rings the workers' bell: a message that carries nothing, as the row is the truth.

A bell that cannot be rung is logged and never an error; the scheduler notices that due
rows are not claimed and rings again.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import current_app
from kombu.exceptions import ChannelError, OperationalError

logger = logging.getLogger(__name__)

WORK = "executions.work"
PAUSE_S = 1.0
"""How long not to try again after a bell that could not be rung."""

_silent_until = 0.0


def ring(times: int = 1) -> bool:
    """Ring, or log that it was not possible. Blocks for about a second at most."""
    global _silent_until  # noqa: PLW0603 - shared by all threads; a race costs one try
    if time.monotonic() < _silent_until:
        return False
    try:
        for _ in range(times):
            current_app.send_task(WORK, ignore_result=True, retry=False)
    except (OperationalError, OSError) as error:
        _silent_until = time.monotonic() + PAUSE_S
        logger.warning("the bell was not rung, the scheduler will do so: %s", error)
        return False
    return True


def unheard() -> int | None:
    """Return how many bells wait for a worker, or None when the broker is away."""
    queue = current_app.conf.task_default_queue
    try:
        connections: Any = current_app.pool
        with connections.acquire(block=True, timeout=PAUSE_S) as broker:
            declared = broker.default_channel.queue_declare(queue, passive=True)
            return int(declared.message_count)
    except ChannelError:
        # On Redis an empty queue does not exist.
        return 0
    except (OperationalError, OSError):
        return None


def wake() -> None:
    """Have this process's own consumer look whether it is to stop."""
    from platform_site import transports  # noqa: PLC0415 - only with queues in memory

    transports.stirred.stir()


def forget_failure() -> None:
    """Try again at once, although the broker did not answer a moment ago."""
    global _silent_until  # noqa: PLW0603
    _silent_until = 0.0
