"""The channel inside one process: for the embedded server, and for tests."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID

from executions.channel import Control, News, Waiters
from executions.limits import MIB

LOG_ENTRIES = 1024
FINISHED_S = 120.0
ABANDONED_S = 3600.0
KEPT_RUNS = 1024
KEPT_BYTES = 8 * MIB
"""How much is kept of finished runs, for who is late: their rows have it all."""


@dataclass(slots=True)
class _Log:
    """What is remembered of one run, until `forget_at` on the monotonic clock."""

    news: deque[News] = field(default_factory=lambda: deque(maxlen=LOG_ENTRIES))
    controls: deque[Control] = field(default_factory=lambda: deque(maxlen=LOG_ENTRIES))
    count: int = 0
    size_bytes: int = 0
    forget_at: float = 0.0

    def add(self, item: News) -> int:
        """Append news; return by how many bytes this log has grown."""
        self.count += 1
        gone = self.news[0] if len(self.news) == LOG_ENTRIES else None
        self.news.append(replace(item, cursor=str(self.count)))
        grown = len(item.data) - (len(gone.data) if gone else 0)
        self.size_bytes += grown
        return grown


class MemoryChannel(Waiters):
    """Logs in a dictionary, one condition for all who follow."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._logs: dict[UUID, _Log] = {}
        self._size_bytes = 0
        self._finished: deque[UUID] = deque()
        self._receivers: dict[UUID, Callable[[Control], None]] = {}
        self._alive: dict[str, float] = {}
        self._swept_at = time.monotonic()

    def publish(self, execution_id: UUID, news: Sequence[News]) -> None:
        is_finished = any(item.kind == "finished" for item in news)
        with self._changed:
            log = self._log(execution_id)
            self._size_bytes += sum(map(log.add, news))
            if is_finished:
                log.forget_at = time.monotonic() + FINISHED_S
                self._finished.append(execution_id)
                self._forget_excess()
            self._changed.notify_all()
        if is_finished:
            self.wake(execution_id)

    def follow(
        self, execution_id: UUID, after: str = "0", timeout_s: float = 60.0
    ) -> Iterator[News]:
        deadline, seen = time.monotonic() + timeout_s, int(after)
        while batch := self._next(execution_id, seen, deadline):
            for item in batch:
                yield item
                if item.kind == "finished":
                    return
            seen = int(batch[-1].cursor or seen)

    def _next(self, execution_id: UUID, seen: int, deadline: float) -> list[News]:
        def fresh() -> list[News]:
            log = self._logs.get(execution_id)
            news = log.news if log else ()
            return [item for item in news if int(item.cursor or 0) > seen]

        with self._changed:
            self._changed.wait_for(fresh, max(0.0, deadline - time.monotonic()))
            return fresh()

    def send(self, execution_id: UUID, control: Control) -> None:
        with self._changed:
            receive = self._receivers.get(execution_id)
            if receive is None:
                self._log(execution_id).controls.append(control)
                return
        receive(control)

    @contextmanager
    def listen(
        self, execution_id: UUID, receive: Callable[[Control], None], *, late: bool
    ) -> Iterator[None]:
        with self._changed:
            log = self._logs.get(execution_id)
            earlier = list(log.controls) if log else []
            if log:
                log.controls.clear()
            self._receivers[execution_id] = receive
        for control in earlier:
            receive(control)
        try:
            yield
        finally:
            with self._changed:
                if self._receivers.get(execution_id) is receive:
                    del self._receivers[execution_id]

    def beat(self, worker: str, seconds: float) -> None:
        with self._changed:
            self._alive[worker] = time.monotonic() + seconds

    def workers(self) -> list[str]:
        with self._changed:
            now = time.monotonic()
            return sorted(name for name, until in self._alive.items() if until > now)

    def close(self) -> None:
        with self._changed:
            self._logs.clear()
            self._finished.clear()
            self._size_bytes = 0

    def _log(self, execution_id: UUID) -> _Log:
        now = time.monotonic()
        if now - self._swept_at > FINISHED_S:
            self._swept_at = now
            old = [key for key, log in self._logs.items() if log.forget_at < now]
            for key in old:
                self._forget(key)
        log = self._logs.setdefault(execution_id, _Log())
        log.forget_at = max(log.forget_at, now + ABANDONED_S)
        return log

    def _forget_excess(self) -> None:
        """Let go of the runs that finished first, but never of the last one."""
        finished = self._finished
        while len(finished) > KEPT_RUNS or (
            self._size_bytes > KEPT_BYTES and len(finished) > 1
        ):
            self._forget(finished.popleft())

    def _forget(self, execution_id: UUID) -> None:
        log = self._logs.pop(execution_id, None)
        if log is not None:
            self._size_bytes -= log.size_bytes
