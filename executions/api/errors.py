"""Every way into the one error envelope.

Whatever goes wrong below /api/, in our views, in REST framework, in Django before any
view, or in the web server before Django, is answered with this object.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from rest_framework import exceptions
from rest_framework.response import Response

from executions.api.envelope import (
    BY_STATUS,
    CODES,
    MESSAGES,
    RETRY_AFTER_S,
    envelope,
)
from executions.specs import InvalidSubmission

logger = logging.getLogger(__name__)


class ApiError(exceptions.APIException):
    """A refusal with a code of its own; `fields` names what was wrong where."""

    def __init__(
        self, code: str, message: str, fields: Mapping[str, list[str]] | None = None
    ) -> None:
        super().__init__(detail=message, code=code)
        self.status_code = CODES[code]
        self.code = code
        self.message = message
        self.fields = dict(fields or {})


def invalid(fields: Mapping[str, list[str]], *, code: str = "invalid") -> ApiError:
    """Return the refusal of a request for its fields; the first one is the message."""
    name, messages = next(iter(fields.items()))
    message = messages[0]
    if not message.startswith(name.rsplit(".", 1)[-1]):
        message = f"{name} {message}"
    return ApiError(code, message, fields)


def response(code: str, message: str = "") -> HttpResponse:
    """Return the envelope as a plain Django answer."""
    answer = HttpResponse(
        json.dumps(envelope(code, message)),
        content_type="application/json",
        status=CODES[code],
    )
    _add_retry_after(answer)
    return answer


def handle(exc: Exception, context: Mapping[str, Any]) -> Response:
    """REST framework's exception handler: nothing gets past it."""
    code, message, fields, headers = _describe(exc)
    if code == "internal":
        logger.error("unexpected %s", type(exc).__name__, exc_info=exc)
    elif code == "unavailable":
        logger.warning("answered 503: %s", type(exc).__name__)
    answer = Response(
        envelope(code, message, fields), status=CODES[code], headers=headers
    )
    if "Retry-After" not in answer:
        _add_retry_after(answer)
    return answer


def _describe(
    exc: Exception,
) -> tuple[str, str, Mapping[str, list[str]], dict[str, str]]:
    """Return the code, message, fields and headers that an exception stands for."""
    if isinstance(exc, InvalidSubmission):
        exc = invalid(exc.fields, code="limit_exceeded" if exc.is_excess else "invalid")
    if isinstance(exc, ApiError):
        return exc.code, exc.message, exc.fields, {}
    if isinstance(exc, exceptions.APIException):
        return _describe_framework(exc)
    return (
        next((c for kind, c in BY_KIND if isinstance(exc, kind)), "internal"),
        "",
        {},
        {},
    )


# The database being away or busy is an outage; a wrong query of ours is not.
BY_KIND: tuple[tuple[type[Exception], str], ...] = (
    (Http404, "not_found"),
    (SuspiciousOperation, "bad_request"),
    (BadRequest, "bad_request"),
    (UnreadablePostError, "bad_request"),
    (OperationalError, "unavailable"),
    (InterfaceError, "unavailable"),
)


def _describe_framework(
    exc: exceptions.APIException,
) -> tuple[str, str, Mapping[str, list[str]], dict[str, str]]:
    challenge = getattr(exc, "auth_header", None)
    headers = {"WWW-Authenticate": challenge} if challenge else {}
    if isinstance(exc, exceptions.Throttled):
        headers["Retry-After"] = str(max(1, round(getattr(exc, "wait", None) or 1)))
    code = BY_STATUS.get(exc.status_code, "internal")
    # A known status says it better than the framework, but for a refused key.
    message = MESSAGES.get(code, str(exc.detail))
    if isinstance(exc, exceptions.ParseError):
        code = "malformed"
    elif isinstance(exc, exceptions.AuthenticationFailed):
        code, message = "invalid_key", str(exc.detail)
    elif str(exc.detail).startswith("CSRF"):
        code, message = "csrf_failed", MESSAGES["csrf_failed"]
    return code, message, {}, headers


def _add_retry_after(answer: HttpResponse) -> None:
    if answer.status_code in (CODES["throttled"], CODES["unavailable"]):
        answer["Retry-After"] = str(RETRY_AFTER_S)


def is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")
