"""The name of the request that this thread is answering, for logs and error bodies."""

from __future__ import annotations

import logging
import re
import uuid
from contextvars import ContextVar

HEADER = "X-Request-ID"
# Foreign ids reach logs and headers, so only harmless ones are taken over.
ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{8,64}")

_current: ContextVar[str] = ContextVar("request_id", default="")


def begin(offered: str | None) -> str:
    """Name the request: as the client or proxy did, if it did so sensibly."""
    taken = offered if offered and ACCEPTABLE.fullmatch(offered) else uuid.uuid4().hex
    _current.set(taken)
    return taken


def current() -> str:
    return _current.get()


def end() -> None:
    _current.set("")


class AddRequestId(logging.Filter):
    """Gives every log record `request_id`; "-" outside of requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = _current.get() or "-"
        return True
