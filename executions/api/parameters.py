"""Query parameters and request headers of the API, read strictly.

An unknown parameter is refused by name: a filter with a typing error must not look as
if it had matched everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.utils.dateparse import parse_datetime
from rest_framework.request import Request

from executions.api.errors import invalid
from executions.api.representation import ENCODINGS, TEXT
from executions.specs import MAX_REPORTED_FIELDS, shown

SECONDS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,3})?")
WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class Parameters:
    """The query string of one request, of which only `known` names may be there."""

    def __init__(self, request: Request, known: Iterable[str]) -> None:
        self._values = request._request.GET
        names = set(known)
        errors = {
            shown(name): ["is not a parameter here"]
            for name in list(self._values)[:MAX_REPORTED_FIELDS]
            if name not in names
        }
        errors.update(
            {
                shown(name): ["may be given once"]
                for name in names
                if len(self._values.getlist(name)) > 1
            }
        )
        if errors:
            raise invalid(errors)

    def text(self, name: str) -> str | None:
        return self._values.get(name)

    def wait_s(self) -> float:
        """Return how long to wait for the end; 0.0 without the parameter."""
        value = self._values.get("wait")
        if value is None:
            return 0.0
        maximum = settings.REQUEST_MAX_WAIT_S
        if not SECONDS.fullmatch(value):
            raise invalid({"wait": ["wait must be a number of seconds"]})
        if float(value) > maximum:
            message = f"wait may be at most {maximum}"
            raise invalid({"wait": [message]}, code="limit_exceeded")
        return float(value)

    def encoding(self) -> str:
        return self.choice("encoding", ENCODINGS) or TEXT

    def choice(self, name: str, choices: Iterable[str]) -> str | None:
        value = self._values.get(name)
        allowed = list(choices)
        if value is not None and value not in allowed:
            raise invalid({name: [f"{name} must be one of {', '.join(allowed)}"]})
        return value

    def moment(self, name: str) -> datetime | None:
        value = self._values.get(name)
        if value is None:
            return None
        # A "+" of the offset arrives as a space when it was not quoted.
        moment = instant(value.replace(" ", "+"))
        if moment is None:
            message = f"{name} must be a time such as 2030-01-31T12:00:00Z"
            raise invalid({name: [message]})
        return moment

    def page_size(self) -> int:
        value = self._values.get("page_size")
        maximum = settings.API_MAX_PAGE_SIZE
        if value is None:
            return min(settings.API_PAGE_SIZE, maximum)
        if not WHOLE_NUMBER.fullmatch(value) or int(value) < 1:
            raise invalid({"page_size": ["page_size must be a whole number above 0"]})
        if int(value) > maximum:
            message = f"page_size may be at most {maximum}"
            raise invalid({"page_size": [message]}, code="limit_exceeded")
        return int(value)

    def url_with(self, request: Request, **changes: Any) -> str:
        """Return this request's path with some parameters changed."""
        values = self._values.copy()
        for name, value in changes.items():
            values[name] = value
        return f"{request._request.path}?{values.urlencode()}"


def instant(text: str) -> datetime | None:
    """Return the time that RFC 3339 text names, in UTC; None when there is none."""
    try:
        moment = parse_datetime(text)
        # OverflowError: a year that only its offset brings within reach.
        return moment.astimezone(UTC) if moment and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def idempotency_key(request: Request) -> str | None:
    value = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if value is not None and not IDEMPOTENCY_KEY.fullmatch(value):
        message = "Idempotency-Key must be 1 to 255 visible ASCII characters"
        raise invalid({"Idempotency-Key": [message]})
    return value
