"""How bells travel: kombu's transports, changed in a few points.

In memory: kombu's own polls once a second; ours blocks until there is something. On
Redis: a message that is no bell of ours, sent by mistake or malice, is dropped and
counted; with kombu's own it would end the worker. And bells are not copied.
"""

from __future__ import annotations

import logging
import threading
import time
from queue import Empty, Queue
from typing import Any

import kombu.transport
from kombu.transport import memory, redis, virtual

logger = logging.getLogger(__name__)

QUEUE = "bells"
BODY_CHARACTERS = 4096
"""A bell's body is empty arguments: some hundred characters."""


class DroppedMessages:
    """Counts what was dropped, and logs it without flooding the log."""

    LOG_EVERY_S = 10.0

    def __init__(self) -> None:
        self.count = 0
        self._logged_at = -self.LOG_EVERY_S

    def add(self, why: str) -> None:
        self.count += 1
        now = time.monotonic()
        if now - self._logged_at >= self.LOG_EVERY_S:
            self._logged_at = now
            logger.warning(
                "dropped a message that is no bell (%s); %d so far", why, self.count
            )


dropped = DroppedMessages()


def flaw(message: Any, known_tasks: tuple[str, ...]) -> str | None:
    """Return why a decoded message is no bell, or None."""
    if not isinstance(message, dict):
        return "not an object"
    headers, properties = message.get("headers"), message.get("properties")
    if not isinstance(headers, dict) or not isinstance(properties, dict):
        return "no headers or properties"
    body = message.get("body")
    checks = {
        "unknown task": headers.get("task") in known_tasks,
        "no id": isinstance(headers.get("id"), str),
        "unknown content type": message.get("content-type") == "application/json",
        "no delivery tag": isinstance(properties.get("delivery_tag"), str),
        "no delivery information": isinstance(properties.get("delivery_info"), dict),
        "bad body": isinstance(body, str) and len(body) <= BODY_CHARACTERS,
    }
    return next((why for why, is_right in checks.items() if not is_right), None)


class BellQoS(virtual.QoS):
    """Counts what is not acknowledged, for the prefetch limit, and nothing else.

    kombu's keeps a copy of each message in Redis until then: three round trips, and a
    third of a worker's CPU time. A bell that is lost with its worker costs nothing: the
    rows are there, and the scheduler rings again.
    """

    restore_at_shutdown = False


class RedisChannel(redis.Channel):
    QoS = BellQoS  # type: ignore[assignment]

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except (ValueError, RecursionError) as error:
            # Not JSON. It is off the queue already.
            dropped.add(type(error).__name__)
            raise Empty from None


class RedisTransport(redis.Transport):
    """Not called "redis", so that Celery leaves out gossip and mingle by itself."""

    Channel = RedisChannel
    driver_type = "bells"
    known_tasks = ("executions.work",)

    def _deliver(self, message: Any, queue: str | None) -> None:
        why = flaw(message, self.known_tasks)
        if why is None:
            super()._deliver(message, queue)
        else:
            dropped.add(why)


class _Stirred:
    """Wakes who waits for messages, as queues and acknowledgements change."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.count = 0

    def stir(self) -> None:
        with self.condition:
            self.count += 1
            self.condition.notify_all()

    def wait(self, seen: int, timeout_s: float | None) -> bool:
        with self.condition:
            return self.condition.wait_for(lambda: self.count != seen, timeout_s)


stirred = _Stirred()


class _InMemory:
    """The queue of bells in memory, past Celery: see executions.bells.hear."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listening = 0

    @property
    def _queue(self) -> Any:
        return memory.Channel.queues.setdefault(QUEUE, Queue())

    def put(self, message: Any) -> None:
        self._queue.put(message)
        with self._lock:
            is_heard = self._listening > 0
        if not is_heard:
            stirred.stir()

    def take(self, timeout_s: float) -> bool:
        with self._lock:
            self._listening += 1
        try:
            self._queue.get(timeout=timeout_s)
        except Empty:
            return False
        finally:
            with self._lock:
                self._listening -= 1
            if not self._queue.empty():
                # It came while this thread still counted as one that listens.
                stirred.stir()
        return True


in_memory = _InMemory()


class MemoryChannel(memory.Channel):
    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        super()._put(queue, message, **kwargs)
        stirred.stir()

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        super().basic_ack(delivery_tag, multiple)
        # A slot is free: the next message may be taken.
        stirred.stir()

    def close(self) -> None:
        # kombu's would replace the queues that all channels share.
        virtual.Channel.close(self)


class MemoryTransport(memory.Transport):
    Channel = MemoryChannel

    def drain_events(
        self, connection: Any, timeout: float | None = None, **_: Any
    ) -> None:
        """Deliver one message; TimeoutError also when woken for something else."""
        seen = stirred.count
        cycle: Any = self.cycle
        try:
            cycle.get(self._deliver, timeout=timeout)
        except Empty:
            stirred.wait(seen, timeout)
            try:
                cycle.get(self._deliver, timeout=timeout)
            except Empty:
                raise TimeoutError from None


def install() -> None:
    """Let redis:// and memory:// mean these."""
    kombu.transport.TRANSPORT_ALIASES.update(
        redis=f"{__name__}:RedisTransport", memory=f"{__name__}:MemoryTransport"
    )
