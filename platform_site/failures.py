"""What is answered when no view of ours did: JSON below /api/, a page elsewhere."""

from __future__ import annotations

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.template import TemplateDoesNotExist, loader
from django.views import defaults

from executions.api import errors
from executions.api.envelope import MESSAGES, RETRY_AFTER_S


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if errors.is_api(request):
        return errors.response("bad_request")
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if errors.is_api(request):
        return errors.response("permission_denied")
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if errors.is_api(request):
        return errors.response("not_found")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if errors.is_api(request):
        return errors.response("internal")
    return defaults.server_error(request)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    if errors.is_api(request):
        return errors.response("csrf_failed")
    try:
        page = loader.get_template("403_csrf.html").render({}, request)
    except TemplateDoesNotExist:
        page = "The form has expired. Please go back, reload the page and try again."
    return HttpResponse(page, status=HTTPStatus.FORBIDDEN)


def unavailable(request: HttpRequest) -> HttpResponse:
    """Answer while the database is away; renders nothing that could ask it again."""
    if errors.is_api(request):
        return errors.response("unavailable")
    answer = HttpResponse(
        MESSAGES["unavailable"],
        content_type="text/plain",
        status=HTTPStatus.SERVICE_UNAVAILABLE,
    )
    answer["Retry-After"] = str(RETRY_AFTER_S)
    return answer
