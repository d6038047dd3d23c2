"""Passes the news of this process's runs on, a few milliseconds' worth at a time.

The first news of a run wait longer, as most runs end sooner than that: all they had to
say then goes out together with their end, in one round trip.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from uuid import UUID

from executions.channel import Channel, ChannelDown, News

logger = logging.getLogger(__name__)

GATHER_S = 0.03
HOLD_S = 0.1
"""How long after its start a run's news are kept back: busy workers had two round trips
for each short run without, and passing news on was a fifth of their CPU time."""
QUIET_ROUNDS = 30
"""After so many rounds without news the thread sleeps until there is some."""


@dataclass(slots=True)
class _Pending:
    """What one run has to say, and from when on that may be passed on."""

    due_at: float
    news: list[News] = field(default_factory=list)


class NewsDesk:
    """Collects news from any thread; one of its own passes them on."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._changed = threading.Condition()
        self._pending: dict[UUID, _Pending] = {}
        self._on_its_way: UUID | None = None
        self._is_due = threading.Event()
        self._is_closed = False
        self._is_down = False
        self._is_asleep = False
        self._thread: threading.Thread | None = None

    def add(self, execution_id: UUID, news: News, *, started_at: float = 0.0) -> None:
        """Publish soon, but not sooner than HOLD_S after the run's start.

        `started_at` is on the monotonic clock.
        """
        with self._changed:
            pending = self._pending.get(execution_id)
            if pending is None:
                pending = self._pending[execution_id] = _Pending(started_at + HOLD_S)
            pending.news.append(news)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._loop, name="news", daemon=True
                )
                self._thread.start()
        if self._is_asleep:
            self._is_due.set()

    def finish(self, execution_id: UUID, news: News) -> None:
        """Publish now, after all that is pending of this run."""
        with self._changed:
            self._changed.wait_for(lambda: self._on_its_way != execution_id)
            pending = self._pending.pop(execution_id, None)
        earlier = pending.news if pending else ()
        self._publish(execution_id, [*earlier, news])

    def close(self) -> None:
        self._is_closed = True
        self._is_due.set()

    def _loop(self) -> None:
        """Look every few milliseconds: to be woken for each run would cost more."""
        quiet = 0
        while not self._is_closed:
            time.sleep(GATHER_S)
            now = time.monotonic()
            with self._changed:
                waiting = [
                    key for key, news in self._pending.items() if news.due_at <= now
                ]
                quiet = 0 if self._pending else quiet + 1
                self._is_asleep = quiet > QUIET_ROUNDS
                self._is_due.clear()
            for execution_id in waiting:
                self._pass_on(execution_id)
            if self._is_asleep and not self._is_closed:
                self._is_due.wait()
            self._is_asleep = False

    def _pass_on(self, execution_id: UUID) -> None:
        """Publish what is pending of a run, unless its end did so meanwhile."""
        with self._changed:
            pending = self._pending.pop(execution_id, None)
            self._on_its_way = execution_id if pending else None
        if pending is None:
            return
        try:
            self._publish(execution_id, pending.news)
        finally:
            with self._changed:
                self._on_its_way = None
                self._changed.notify_all()

    def _publish(self, execution_id: UUID, news: list[News]) -> None:
        try:
            self._channel.publish(execution_id, news)
        except ChannelDown as error:
            # Whoever waits reads the row: nothing but live output is lost.
            if not self._is_down:
                logger.warning("news of runs are not passed on: %s", error)
            self._is_down = True
        else:
            self._is_down = False
