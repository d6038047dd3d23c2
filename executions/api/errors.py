"""The one error envelope, and every way into it.

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

from executions.specs import InvalidSubmission
from platform_site import request_ids

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 5

# What each code means is told in docs/api.md; clients may rely on them.
CODES = {
    "malformed": 400,
    "invalid": 400,
    "limit_exceeded": 400,
    "key_in_url": 400,
    "bad_request": 400,
    "not_authenticated": 401,
    "invalid_key": 401,
    "csrf_failed": 403,
    "permission_denied": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "idempotency_conflict": 409,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "throttled": 429,
    "headers_too_large": 431,
    "internal": 500,
    "unavailable": 503,
}
BY_STATUS = {
    400: "bad_request",
    401: "not_authenticated",
    403: "permission_denied",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "idempotency_conflict",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "throttled",
    431: "headers_too_large",
    503: "unavailable",
}
MESSAGES = {
    "bad_request": "The request could not be understood.",
    "permission_denied": "You may not do this.",
    "csrf_failed": "The CSRF token is missing or wrong.",
    "not_found": "There is nothing here.",
    "method_not_allowed": "This method is not allowed here.",
    "request_timeout": "The request took too long to arrive.",
    "body_too_large": "The body is too large.",
    "headers_too_large": "The headers are too large.",
    "internal": "Something went wrong on our side; it has been logged.",
    "unavailable": "The service cannot answer right now. Please try again.",
}


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


def envelope(
    code: str, message: str = "", fields: Mapping[str, list[str]] | None = None
) -> dict[str, Any]:
    return {
        "error": {
            "code": code,
            "message": message or MESSAGES.get(code, code.replace("_", " ")),
            "fields": dict(fields or {}),
            "request_id": request_ids.current(),
        }
    }


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
        headers["Retry-After"] = str(max(1, round(exc.wait or 1)))
    code = BY_STATUS.get(exc.status_code, "internal")
    message = str(exc.detail)
    if isinstance(exc, exceptions.ParseError):
        code = "malformed"
    elif isinstance(exc, exceptions.AuthenticationFailed):
        code = "invalid_key"
    elif message.startswith("CSRF"):
        code, message = "csrf_failed", ""
    return code, message, {}, headers


def _add_retry_after(answer: HttpResponse) -> None:
    if answer.status_code in (CODES["throttled"], CODES["unavailable"]):
        answer["Retry-After"] = str(RETRY_AFTER_S)


def is_api(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")
