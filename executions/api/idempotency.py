"""Idempotency-Key: the same POST, sent any number of times, has one effect.

The key is stored in the transaction of its execution, and the database lets one of
several through. The others are answered from the row, as the first one was.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from rest_framework.request import Request

from accounts.models import User
from executions.api import parameters
from executions.api.errors import ApiError
from executions.models import Execution, IdempotencyKey


@dataclass(frozen=True, slots=True)
class Claim:
    """What one request says about itself; pass `store` to services.submit."""

    user: User
    key: str
    fingerprint: str

    def store(self, execution: Execution) -> None:
        """Tie the key to the execution. Raises IntegrityError when it is taken."""
        IdempotencyKey.objects.create(
            user=self.user,
            key=self.key,
            fingerprint=self.fingerprint,
            execution=execution,
        )

    def earlier(self) -> Execution | None:
        """Return what this request led to when it came before, if it did.

        Raises ApiError when the key came with another request.
        """
        row = (
            IdempotencyKey.objects.select_related("execution")
            .filter(user=self.user, key=self.key)
            .first()
        )
        if row is None:
            return None
        if row.fingerprint != self.fingerprint:
            raise ApiError(
                "idempotency_conflict",
                "This Idempotency-Key was used before, with another request.",
            )
        return row.execution


def claim(request: Request, user: User, body: bytes) -> Claim | None:
    """Return the request's claim to its key, or None when it has none."""
    key = parameters.idempotency_key(request)
    if key is None:
        return None
    path = request._request.path.rstrip("/")
    print_ = hashlib.sha256(f"{request.method} {path}\n".encode() + body).hexdigest()
    return Claim(user, key, print_)
