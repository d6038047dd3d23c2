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
