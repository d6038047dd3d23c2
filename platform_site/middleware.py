"""What every request gets: an id, a line in the log, safe headers, one error shape."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponseBase
from rest_framework.response import Response

from executions.api import errors
from executions.api.envelope import BY_STATUS
from executions.api.health import Health, Ready
from platform_site import failures, request_ids

logger = logging.getLogger("platform_site.requests")

Next = Callable[[HttpRequest], HttpResponseBase]

# No inline script or style, nothing from other hosts, and nobody may frame us.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# Probes come without a host name that we know, and must not depend on anything.
PROBES = {"/api/health": Health.as_view(), "/api/ready": Ready.as_view()}


class Outermost:
    """The first middleware and the last: sees each answer just before it leaves."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        began = time.perf_counter()
        request_id = request_ids.begin(request.META.get("HTTP_X_REQUEST_ID"))
        probe = PROBES.get(request.path_info.rstrip("/"))
        answer = _rendered(probe(request)) if probe else self.get_response(request)
        if errors.is_api(request):
            answer = _in_envelope(answer)
            answer.headers.setdefault("Cache-Control", "no-store")
        answer.headers["X-Request-ID"] = request_id
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        _log(request, answer, began, is_probe=probe is not None)
        return answer

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """Answer 503, not 500, on pages while the database is away."""
        if isinstance(exception, OperationalError | InterfaceError):
            logger.warning("answered 503: %s", type(exception).__name__)
            return failures.unavailable(request)
        return None


def _rendered(answer: Response) -> HttpResponseBase:
    """Do what the middlewares that a probe does not pass would have done."""
    answer.render()
    answer.headers["Content-Length"] = str(len(answer.content))
    return answer


def _in_envelope(answer: HttpResponseBase) -> HttpResponseBase:
    """Give errors that were not made by the API itself its shape."""
    is_error = answer.status_code >= 400  # noqa: PLR2004
    if not is_error or answer.headers.get("Content-Type") == "application/json":
        return answer
    code = BY_STATUS.get(answer.status_code, "internal")
    return errors.response(code)


def _log(
    request: HttpRequest, answer: HttpResponseBase, began: float, *, is_probe: bool
) -> None:
    # The path alone: queries and headers may hold secrets.
    logger.log(
        logging.DEBUG if is_probe else logging.INFO,
        "%s %s %d %.1f ms",
        request.method,
        ascii(request.path_info)[1:-1][:200],
        answer.status_code,
        (time.perf_counter() - began) * 1000,
    )
