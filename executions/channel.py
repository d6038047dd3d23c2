"""News of runs, from workers to whoever waits, and control messages the other way.

Two implementations with one interface and one set of tests: Redis (one bounded,
expiring stream per run and direction, pub/sub to wake waiters) and in-process for the
embedded server. News may be lost; the row is the truth, so a waiter reads it once after
subscribing and once at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID


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
    def wait(self, timeout_s: float) -> bool:
        """Block until the run is final; True also when news may have been lost."""


class Channel(Protocol):
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
        self, execution_id: UUID, receive: Callable[[Control], None]
    ) -> AbstractContextManager[None]:
        """Receive the run's control messages, also earlier unread ones, in order.

        `receive` is called from the channel's own thread and must not block.
        """

    def close(self) -> None: ...


def current() -> Channel:
    """Return the channel of this process, chosen by CELERY_BROKER_URL."""
    raise NotImplementedError
