"""A plain loop that repairs what the queue may have lost; it does not go through it.

Rings again for rows that are due while nobody claims, sees to runs on machines that
stay away, and deletes what is older than its retention. May run twice without harm.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection

from executions import bells, services
from executions.leases import Trust
from executions.models import Execution

logger = logging.getLogger(__name__)

LOOK_S = 1.0
FORGOTTEN_S = 5.0
"""How long the next due row may stay the same before the bell is rung again."""
MOST_BELLS = 50
REACH_S = 5.0
PRUNE_S = 3600.0


class Scheduler:
    """`run` loops until `stop` is called, from another thread or a signal handler."""

    def __init__(self) -> None:
        self._is_stopping = threading.Event()
        self._trust = Trust()
        self._is_without_database = False
        self._head: UUID | None = None
        self._head_since = 0.0
        self._next_reach = 0.0
        self._next_prune = time.monotonic() + REACH_S

    def stop(self) -> None:
        self._is_stopping.set()

    def run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                self.look(time.monotonic())
                self._is_without_database = False
            except (DatabaseError, InterfaceError) as error:
                self._trust.lose()
                if not self._is_without_database:
                    logger.warning("the database is away: %s", error)
                self._is_without_database = True
            except Exception:  # the scheduler's task boundary
                logger.exception("the scheduler stumbled")
            finally:
                connection.close()
            self._is_stopping.wait(LOOK_S)

    def look(self, now: float) -> None:
        """Do what is to be done at `now`, on the monotonic clock."""
        self.ring_for_forgotten(now)
        if now >= self._next_reach and self._trust.is_earned:
            self._next_reach = now + REACH_S
            if count := services.give_up_unreachable():
                logger.warning("%d runs were on machines that stay away", count)
        if now >= self._next_prune:
            self._next_prune = now + PRUNE_S
            self._prune()

    def ring_for_forgotten(self, now: float) -> int:
        """Ring when the next due row has not changed for a while; returns how often.

        Rows are claimed in the order in which they are due, so a head that stays is a
        queue where nobody claims. While bells lie there unheard, ringing is no help.
        """
        head = Execution.objects.next_due()
        if head is None or head != self._head:
            self._head, self._head_since = head, now
            return 0
        if now - self._head_since < FORGOTTEN_S:
            return 0
        self._head_since = now
        if bells.unheard() != 0:
            return 0
        count = min(Execution.objects.due().count(), MOST_BELLS)
        logger.info("%d executions are due and nobody claims: ringing again", count)
        bells.ring(count)
        return count

    def _prune(self) -> None:
        keys = services.prune_idempotency_keys()
        count = 0
        if settings.RETENTION_DAYS:
            age = timedelta(days=settings.RETENTION_DAYS)
            count = services.prune(older_than=age)
        if keys or count:
            logger.info("deleted %d old executions, %d idempotency keys", count, keys)
