"""The one error envelope, free of Django: the web server answers with it as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from platform_site import request_ids

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
# For those who know a status only.
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
    "not_authenticated": "Send an API key, or log in.",
    "permission_denied": "You may not do this.",
    "csrf_failed": "The CSRF token is missing or wrong.",
    "not_found": "There is nothing here.",
    "method_not_allowed": "This method is not allowed here.",
    "request_timeout": "The request took too long to arrive.",
    "body_too_large": "The body is too large.",
    "headers_too_large": "The request line or the headers are too large.",
    "throttled": "Too many requests. Please wait.",
    "internal": "Something went wrong on our side; it has been logged.",
    "unavailable": "The service cannot answer right now. Please try again.",
}


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
