"""Who owns a run, and until when.

A lease is written with every claim and every adoption, under an id of its own, and
every later change of the row names that id: a paused owner cannot write late.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field

from django.conf import settings


@dataclass(slots=True)
class Lease:
    """A worker's hold on one row; `valid_until` is on the own monotonic clock."""

    owner: str
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    valid_until: float = 0.0

    def renew(self, asked_at: float) -> None:
        """Count from the moment the database was asked: never longer than the row."""
        self.valid_until = asked_at + settings.LEASE_LENGTH_S

    @property
    def is_valid(self) -> bool:
        return time.monotonic() < self.valid_until


def new(owner: str) -> Lease:
    lease = Lease(owner)
    lease.renew(time.monotonic())
    return lease


class Trust:
    """Whether leases that have run out prove anything.

    Not until one lease length after this process, or its database, came (back): before
    that, living owners may just not have had the time to renew.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def lose(self) -> bool:
        """The database did not answer; returns whether it had done so before."""
        had, self._since = self._since is not None, None
        return had

    @property
    def is_earned(self) -> bool:
        """Call this after a successful query only."""
        if self._since is None:
            self._since = time.monotonic()
        return time.monotonic() - self._since > settings.LEASE_LENGTH_S
