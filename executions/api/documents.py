"""What the OpenAPI document tells of each view, beyond what the code itself says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from executions.api import serializers

Decorator = Callable[[Any], Any]

REFUSALS = {
    400: "The request is malformed, or a field is wrong.",
    401: "No key or session, or one that is not valid (any more).",
    403: "The session's CSRF token is missing, or this is not allowed.",
    404: "There is no such thing, or it belongs to somebody else.",
    405: "The method is not allowed here.",
    408: "The request took too long to arrive.",
    409: "The Idempotency-Key came before with another request.",
    413: "The body is too large.",
    415: "The body is not JSON, or compressed.",
    429: "Too many requests; see Retry-After.",
    431: "The headers are too large.",
    500: "Our fault; it was logged under the request id.",
    503: "Not possible right now; see Retry-After.",
}
ALWAYS = (400, 401, 403, 405, 408, 429, 431, 500, 503)
WITH_BODY = (*ALWAYS, 413, 415, 409)

WAIT = OpenApiParameter(
    "wait",
    {"type": "number", "minimum": 0, "maximum": settings.REQUEST_MAX_WAIT_S},
    description="Answer when the execution has ended, at the latest after so many "
    "seconds.",
)
ENCODING = OpenApiParameter(
    "encoding",
    {"type": "string", "enum": ["utf-8", "base64"]},
    description="How output is given: as text in which invalid UTF-8 is replaced, or "
    "exactly, as base64.",
)
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
    OpenApiParameter.HEADER,
    description="The same request with the same key has one effect, however often it "
    "is sent.",
)
INCLUDE = OpenApiParameter(
    "include",
    {"type": "string", "enum": ["submission"]},
    description="Also give the files, the input and the environment.",
)


def _text(name: str, description: str, **schema: Any) -> OpenApiParameter:
    return OpenApiParameter(name, {"type": "string", **schema}, description=description)


def _one_of(names: list[str]) -> str:
    return f"One of {', '.join(names)}."


def _responses(
    success: int, serializer: Any, description: str, refusals: tuple[int, ...]
) -> dict[int, Any]:
    answers: dict[int, Any] = {success: OpenApiResponse(serializer, description)}
    for status in refusals:
        answers[status] = OpenApiResponse(serializers.ErrorSerializer, REFUSALS[status])
    return answers


LOCATION = OpenApiParameter(
    "Location",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The path of the execution.",
    response=[201],
)

submit: Decorator = extend_schema(
    operation_id="submit_execution",
    summary="Submit a program",
    description="The answer is 201 with the execution, finished or not.",
    request=serializers.SubmissionSerializer,
    parameters=[WAIT, ENCODING, IDEMPOTENCY_KEY, LOCATION],
    responses=_responses(
        201, serializers.ExecutionSerializer, "Stored, and with luck done.", WITH_BODY
    ),
)
listing: Decorator = extend_schema(
    operation_id="list_executions",
    summary="List one's own executions, newest first",
    description="Without their output. Unknown parameters are refused.",
    parameters=[
        _text("status", _one_of(serializers.STATUSES), enum=serializers.STATUSES),
        _text("verdict", _one_of(serializers.VERDICTS), enum=serializers.VERDICTS),
        _text("runtime", "A key or an alias."),
        _text("queued_after", "Only those from then on.", format="date-time"),
        _text("queued_before", "Only those before then.", format="date-time"),
        _text("cursor", "Where the page starts: follow next."),
        OpenApiParameter(
            "page_size",
            {"type": "integer", "minimum": 1, "maximum": settings.API_MAX_PAGE_SIZE},
            description=f"{settings.API_PAGE_SIZE} unless told, "
            f"{settings.API_MAX_PAGE_SIZE} at most.",
        ),
    ],
    responses=_responses(200, serializers.PageSerializer, "One page.", ALWAYS),
)
detail: Decorator = extend_schema(
    operation_id="read_execution",
    summary="Read an execution, or wait for its end",
    description="Those of others answer as ones that do not exist.",
    parameters=[WAIT, ENCODING, INCLUDE],
    responses=_responses(
        200, serializers.ExecutionSerializer, "As it is now.", (*ALWAYS, 404)
    ),
)
cancel: Decorator = extend_schema(
    operation_id="cancel_execution",
    summary="Cancel an execution",
    description="A queued one ends at once, a running program is killed; one that has "
    "ended stays as it is.",
    request=None,
    parameters=[ENCODING, IDEMPOTENCY_KEY],
    responses=_responses(
        200,
        serializers.ExecutionSerializer,
        "As it is now: a running program ends a moment later.",
        (*WITH_BODY, 404),
    ),
)
runtimes: Decorator = extend_schema(
    operation_id="list_runtimes",
    summary="List the languages",
    description="Each with its version here, or with what is missing.",
    responses=_responses(200, serializers.RuntimesSerializer, "All of them.", ALWAYS),
)
limits: Decorator = extend_schema(
    operation_id="read_limits",
    summary="Read the limits",
    description="Defaults and maxima, and how large a submission may be.",
    responses=_responses(
        200, serializers.LimitsAnswerSerializer, "Defaults and maxima.", ALWAYS
    ),
)
health: Decorator = extend_schema(
    operation_id="health",
    summary="Tell that the web server answers",
    auth=[],
    responses={200: {"type": "object", "properties": {"status": {"type": "string"}}}},
)
ready: Decorator = extend_schema(
    operation_id="ready",
    summary="Tell whether programs can be run, part by part",
    auth=[],
    responses={
        200: OpenApiResponse(serializers.ReadySerializer, "All parts are ready."),
        503: OpenApiResponse(serializers.ReadySerializer, "Some part is not."),
        **{
            status: OpenApiResponse(serializers.ErrorSerializer, REFUSALS[status])
            for status in (400, 405)
        },
    },
)
