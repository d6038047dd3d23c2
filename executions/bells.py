"""Rings the workers' bell: a message that carries nothing, as the row is the truth.

A bell that cannot be rung is logged and never an error; the scheduler notices that due
rows are not claimed and rings again.
"""

from __future__ import annotations

import json
import logging
import time
from functools import cache
from typing import Any
from uuid import uuid4

from celery import current_app
from django.conf import settings
from kombu import Connection, Queue
from kombu.exceptions import ChannelError, OperationalError
from redis.exceptions import RedisError

from executions.redis_links import Links, packed
from platform_site import transports

logger = logging.getLogger(__name__)


class BrokerAway(Exception):
    """No bell can be heard right now."""


WORK = "executions.work"
_ID = "00000000-0000-0000-0000-000000000000"
PAUSE_S = 1.0
"""How long not to try again after a bell that could not be rung."""

_silent_until = 0.0


def ring(times: int = 1) -> bool:
    """Ring, or log that it was not possible. Blocks for about a second at most."""
    global _silent_until  # noqa: PLW0603 - shared by all threads; a race costs one try
    if time.monotonic() < _silent_until:
        return False
    try:
        url = str(current_app.conf.broker_url)
        if url.startswith("redis"):
            _ring_on_redis(url, times)
        else:
            for _ in range(times):
                transports.in_memory.put(json.loads(_message()))
    except (OperationalError, RedisError, OSError) as error:
        _silent_until = time.monotonic() + PAUSE_S
        logger.warning("the bell was not rung, the scheduler will do so: %s", error)
        return False
    return True


def _ring_on_redis(url: str, times: int) -> None:
    """Push what Celery would, without making it anew each time: a third of the cost."""
    messages = [_message().encode() for _ in range(times)]
    if messages:
        links = _links(url, settings.REDIS_CONNECT_TIMEOUT_S)
        links.exchange([packed(b"LPUSH", transports.QUEUE.encode(), *messages)])


def hear(timeout_s: float) -> bool:
    """Wait for a bell in the calling thread; False when none rang.

    Past Celery, whose way from the socket to a thread costs more than two transactions
    do. What the message says does not matter. Raises BrokerAway.
    """
    url = str(current_app.conf.broker_url)
    if not url.startswith("redis"):
        return transports.in_memory.take(timeout_s)
    try:
        links = _links(url, timeout_s + settings.REDIS_CONNECT_TIMEOUT_S)
        wait = packed(b"BRPOP", transports.QUEUE.encode(), b"%.3f" % timeout_s)
        return links.exchange([wait]) != [None]
    except (RedisError, OSError) as error:
        raise BrokerAway(str(error)) from error


@cache
def _links(url: str, timeout_s: float) -> Links:
    return Links(url, timeout_s=timeout_s)


def _message() -> str:
    return _template().replace(_ID, str(uuid4()))


@cache
def _template() -> str:
    """Return a bell as Celery itself makes it, with one id for all its ids."""
    with Connection("memory://") as nowhere:
        queue = f"template-{uuid4()}"
        queues: Any = current_app.amqp.queues
        queues.add(Queue(queue))
        current_app.send_task(
            WORK, connection=nowhere, queue=queue, task_id=_ID, ignore_result=True
        )
        channel: Any = nowhere.default_channel
        message = channel._get(queue)
        del queues[queue]
    message["properties"]["delivery_tag"] = _ID
    message["properties"]["delivery_info"] = {
        "exchange": "",
        "routing_key": current_app.conf.task_default_queue,
    }
    return json.dumps(message)


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
    except (OperationalError, RedisError, OSError):
        return None


def wake() -> None:
    """Have this process's own consumer look whether it is to stop."""
    transports.stirred.stir()


def forget_failure() -> None:
    """Try again at once, although the broker did not answer a moment ago."""
    global _silent_until  # noqa: PLW0603
    _silent_until = 0.0
