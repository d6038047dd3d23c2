"""News of runs, from workers to whoever waits, and control messages the other way.

Two implementations with one interface and one set of tests: Redis (one bounded,
expiring stream per run and direction, pub/sub to wake waiters) and in-process for the
embedded server. News may be lost; the row is the truth, so a waiter reads it once after
subscribing and once at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol
from uuid import UUID

from django.conf import settings


@dataclass(frozen=True, slots=True)
class News:
    """Something that happened in a run.

    `kind` is "stage" (fields stage, case), "output" (stage, case, stream, offset; data
    is the bytes) or "finished" (status). `cursor` names its place in the log; None
    until it was published.
    """

    kind: str
    fields: dict[str, str | int] = field(default_factory=dict)
    data: bytes = b""
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """A message to whoever owns the run: cancel, stdin, close_stdin or signal."""

    kind: str
    data: bytes = b""
    number: int = 0


class Waiter(Protocol):
    is_early: bool
    """Whether it has listened since before the run was stored."""

    def wait(self, timeout_s: float) -> bool:
        """Block until the run is final; True also when news may have been lost."""


class Channel(Protocol):
    """Raises ChannelDown where messages cannot be passed on, except when waiting."""

    def expect(self, execution_id: UUID) -> None:
        """Listen for the end of a run that is about to be stored; see Waiter."""

    def waiter(self, execution_id: UUID) -> AbstractContextManager[Waiter]:
        """Subscribe to the end of one run. Costs no round trip once connected."""

    def publish(self, execution_id: UUID, news: Sequence[News]) -> None:
        """Append to the run's log; a "finished" among them wakes the waiters."""

    def follow(
        self, execution_id: UUID, after: str = "0", timeout_s: float = 60.0
    ) -> Iterator[News]:
        """Yield the run's log after a cursor, then live, until finished or timeout."""

    def send(self, execution_id: UUID, control: Control) -> None:
        """Send a control message to the owner of the run."""

    def listen(
        self, execution_id: UUID, receive: Callable[[Control], None], *, late: bool
    ) -> AbstractContextManager[None]:
        """Receive the run's control messages, in order; at least once each.

        With `late` also those that another owner left unread, which costs a round trip.
        `receive` is called from the channel's own thread and must not block.
        """

    def beat(self, worker: str, seconds: float) -> None:
        """Let it be known for `seconds` that this worker is alive."""

    def workers(self) -> list[str]:
        """Return the workers that are known to be alive."""

    def close(self) -> None: ...


class ChannelDown(Exception):
    """News and messages cannot be passed on right now."""


MOST_EXPECTED = 4096


@dataclass(slots=True, eq=False)
class _Flag:
    """One waiting thread; `set` may be called from any thread."""

    event: threading.Event = field(default_factory=threading.Event)
    is_early: bool = False

    def wait(self, timeout_s: float) -> bool:
        heard = self.event.wait(timeout_s)
        self.event.clear()
        return heard


class Waiters:
    """The threads of this process that wait for runs to end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flags: dict[UUID, list[_Flag]] = {}
        self._expected: dict[UUID, _Flag] = {}

    def expect(self, execution_id: UUID) -> None:
        with self._lock:
            if len(self._expected) >= MOST_EXPECTED:
                # Nobody came to wait for the oldest.
                oldest = next(iter(self._expected))
                self._remove(oldest, self._expected.pop(oldest))
            flag = self._expected[execution_id] = _Flag(is_early=True)
            self._flags.setdefault(execution_id, []).append(flag)

    @contextmanager
    def waiter(self, execution_id: UUID) -> Iterator[_Flag]:
        with self._lock:
            flag = self._expected.pop(execution_id, None) or _Flag()
            if not flag.is_early:
                self._flags.setdefault(execution_id, []).append(flag)
        try:
            yield flag
        finally:
            with self._lock:
                self._remove(execution_id, flag)

    def _remove(self, execution_id: UUID, flag: _Flag) -> None:
        flags = self._flags[execution_id]
        flags.remove(flag)
        if not flags:
            del self._flags[execution_id]

    def wake(self, execution_id: UUID) -> None:
        with self._lock:
            for flag in self._flags.get(execution_id, ()):
                flag.event.set()

    def wake_all(self) -> None:
        """After news may have been lost: everybody reads the row again."""
        with self._lock:
            for flags in self._flags.values():
                for flag in flags:
                    flag.event.set()


@cache
def current() -> Channel:
    """Return the channel of this process, chosen by CELERY_BROKER_URL."""
    if settings.CELERY_BROKER_URL.startswith("redis"):
        from executions.channel_redis import RedisChannel  # noqa: PLC0415

        return RedisChannel(settings.CELERY_BROKER_URL)
    from executions.channel_memory import MemoryChannel  # noqa: PLC0415

    return MemoryChannel()
