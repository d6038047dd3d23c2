"""The REST API: each view reads, authorises and calls one service."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.http import Http404
from rest_framework.authentication import BaseAuthentication
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.auth import BearerAuthentication, SessionAuthentication, key_in_url
from accounts.models import User
from executions import rules, services, specs, toolchains, waiting
from executions.api import documents, errors, idempotency, parsing, representation
from executions.api.parameters import Parameters, instant
from executions.limits import LIMIT_NAMES, Limits
from executions.models import Execution, ExecutionQuerySet, Status
from executions.runtimes import UnknownRuntime
from executions.runtimes import all as all_runtimes
from executions.runtimes import get as get_runtime
from executions.runtimes.base import Runtime
from executions.verdicts import Verdict


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Any = None,
    ) -> bytes:
        if data is None:
            return b""
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


class OnlyJSON(BaseContentNegotiation):
    """There is one way in and one way out, whatever the Accept header says."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser:
        parser: BaseParser = parsers[0]
        return parser

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class View(APIView):
    """What all views of the API share."""

    authentication_classes: Sequence[type[BaseAuthentication]] = (
        BearerAuthentication,
        SessionAuthentication,
    )
    permission_classes: Sequence[type[BasePermission]] = (IsAuthenticated,)
    parser_classes = (parsing.StrictJSONParser,)
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = OnlyJSON
    # OPTIONS tells the methods, not the code behind them.
    metadata_class = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if key_in_url(request._request):
            raise errors.ApiError(
                "key_in_url", "A key in the URL ends up in logs: send it as a header."
            )
        super().initial(request, *args, **kwargs)

    def get_exception_handler(self) -> Any:
        return errors.handle

    def finalize_response(self, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(*args, **kwargs)
        if isinstance(response, Response):
            response.add_post_render_callback(self._let_go)
        return response

    def _let_go(self, response: Any) -> None:
        """Part the answer, once it is rendered, from the view and from itself.

        Its megabytes then go with it, and not when the collector comes.
        """
        response.renderer_context = {}
        del self.response

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        return Response(status=204, headers={"Allow": ", ".join(self.allowed_methods)})


def _caller(request: Request) -> User:
    # Nobody else passes the permission above.
    return cast(User, request.user)


class Executions(View):
    """Submit a program; list one's own executions."""

    @documents.submit
    def post(self, request: Request) -> Response:
        parameters = Parameters(request, ("wait", "encoding"))
        wait_s, encoding = parameters.wait_s(), parameters.encoding()
        data, body = parsing.submitted(request)
        submission = specs.validate(data, rules=rules.current())
        claim = idempotency.claim(request, _caller(request), body)
        execution, is_repeated = _submit(
            _caller(request), submission, claim, will_wait=wait_s > 0
        )
        if wait_s:
            # It is stored: with no place to wait it is told as it is.
            with contextlib.suppress(waiting.TooManyWaiters):
                execution = waiting.wait(execution, wait_s)
        elif is_repeated:
            execution = representation.as_submitted(execution)
        headers = {"Location": representation.path(execution)}
        if is_repeated:
            headers["Idempotent-Replayed"] = "true"
        content = representation.detail(execution, encoding=encoding)
        return Response(content, status=201, headers=headers)

    @documents.listing
    def get(self, request: Request) -> Response:
        parameters = Parameters(request, FILTERS)
        size = parameters.page_size()
        rows = list(_filtered(request, parameters)[: size + 1])
        following = None
        if len(rows) > size:
            cursor = _cursor(rows[size - 1])
            following = parameters.url_with(request, cursor=cursor)
        results = [representation.summary(row) for row in rows[:size]]
        return Response({"results": results, "next": following})


class ExecutionDetail(View):
    """One execution, at once or when it has ended."""

    @documents.detail
    def get(self, request: Request, pk: UUID) -> Response:
        parameters = Parameters(request, ("wait", "encoding", "include"))
        wait_s, encoding = parameters.wait_s(), parameters.encoding()
        include = parameters.choice("include", ("submission",))
        execution = _own(request, pk)
        if wait_s and not execution.is_final:
            execution = _waited_for(execution, wait_s)
        content = representation.detail(execution, encoding=encoding)
        if include:
            content["submission"] = representation.submission(
                execution, encoding=encoding
            )
        return Response(content)


class ExecutionCancel(View):
    """Cancel an execution; harmless when it has ended already."""

    @documents.cancel
    def post(self, request: Request, pk: UUID) -> Response:
        parameters = Parameters(request, ("encoding",))
        encoding = parameters.encoding()
        parsing.refuse_body(request)
        execution = _own(request, pk)
        claim = idempotency.claim(request, _caller(request), b"")
        headers = {}
        if claim is not None and not _remember(claim, execution):
            headers["Idempotent-Replayed"] = "true"
        execution = services.cancel(execution)
        content = representation.detail(execution, encoding=encoding)
        return Response(content, headers=headers)


def _waited_for(execution: Execution, wait_s: float) -> Execution:
    try:
        return waiting.wait(execution, wait_s)
    except waiting.TooManyWaiters:
        # Nothing else was asked for: a client would ask again at once.
        message = "Too many requests are waiting already."
        raise errors.ApiError("unavailable", message) from None


class Runtimes(View):
    @documents.runtimes
    def get(self, request: Request) -> Response:
        Parameters(request, ())
        return Response({"results": _runtimes()})


class LimitsView(View):
    @documents.limits
    def get(self, request: Request) -> Response:
        Parameters(request, ())
        known = rules.current()
        return Response(
            {
                "limits": _ranges(known.default_limits, known.maximum_limits),
                "compile_limits": _ranges(
                    known.default_compile_limits, known.maximum_compile_limits
                ),
                "submission": {
                    "max_body_bytes": settings.REQUEST_MAX_BODY_BYTES,
                    "max_files": known.max_files,
                    "max_source_bytes": known.max_source_bytes,
                    "max_stdin_bytes": known.max_stdin_bytes,
                    "max_args": known.max_args,
                    "max_args_bytes": known.max_args_bytes,
                    "max_env": known.max_env,
                    "max_env_bytes": known.max_env_bytes,
                },
                "wait_s": settings.REQUEST_MAX_WAIT_S,
            }
        )


def _submit(
    user: User,
    submission: specs.Submission,
    claim: idempotency.Claim | None,
    *,
    will_wait: bool,
) -> tuple[Execution, bool]:
    """Submit, or find what the same request led to earlier; tell which."""
    submit = partial(
        services.submit, owner=user, submission=submission, will_wait=will_wait
    )
    if claim is not None and (earlier := claim.earlier()) is not None:
        return earlier, True
    try:
        return submit(idempotency=claim.store if claim else None), False
    except IntegrityError:
        # Another one with this key was first, and has committed.
        if claim is not None and (earlier := claim.earlier()) is not None:
            return earlier, True
        if not type(user).objects.filter(pk=user.pk).exists():
            raise errors.ApiError("invalid_key", "The account is gone.") from None
        raise


def _remember(claim: idempotency.Claim, execution: Execution) -> bool:
    """Keep the key; False when the same request came before."""
    if claim.earlier() is not None:
        return False
    try:
        with transaction.atomic():
            claim.store(execution)
    except IntegrityError:
        # Another one with this key was first; raises if it was another request.
        return claim.earlier() is None
    return True


def _own(request: Request, pk: UUID) -> Execution:
    execution = Execution.objects.visible_to(request.user).filter(pk=pk).first()
    if execution is None:
        raise Http404
    return execution


FILTERS = (
    "status",
    "verdict",
    "runtime",
    "queued_after",
    "queued_before",
    "cursor",
    "page_size",
)


def _filtered(request: Request, parameters: Parameters) -> ExecutionQuerySet:
    rows = Execution.objects.visible_to(request.user).only(
        *representation.SUMMARY_COLUMNS
    )
    if status := parameters.choice("status", [str(v) for v in Status.values]):
        rows = rows.filter(status=status)
    if verdict := parameters.choice("verdict", [v.value for v in Verdict]):
        rows = rows.filter(verdict=verdict)
    if (name := parameters.text("runtime")) is not None:
        rows = rows.filter(runtime=_runtime_key(name))
    if (after := parameters.moment("queued_after")) is not None:
        rows = rows.filter(queued_at__gte=after)
    if (before := parameters.moment("queued_before")) is not None:
        rows = rows.filter(queued_at__lt=before)
    if (text := parameters.text("cursor")) is not None:
        queued_at, pk = _position(text)
        # The first condition alone lets the index find the place.
        rows = rows.filter(queued_at__lte=queued_at).filter(
            Q(queued_at__lt=queued_at) | Q(pk__lt=pk)
        )
    return rows.order_by("-queued_at", "-id")


def _runtime_key(name: str) -> str:
    try:
        return get_runtime(name).key
    except UnknownRuntime:
        message = f"'{specs.shown(name)}' is not a runtime; see /api/v1/runtimes"
        raise errors.invalid({"runtime": [message]}) from None


def _cursor(execution: Execution) -> str:
    text = f"{execution.queued_at.isoformat()} {execution.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(cursor: str) -> tuple[datetime, UUID]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        moment, _, pk = text.decode().partition(" ")
        if (queued_at := instant(moment)) is not None:
            return queued_at, UUID(pk)
    except (binascii.Error, ValueError):
        pass
    raise errors.invalid({"cursor": ["cursor must be taken from a page's next"]})


def _runtimes() -> list[dict[str, Any]]:
    found = toolchains.find_all(all_runtimes())
    return [_runtime(p.runtime, p.version, p.problem) for p in found]


def _runtime(runtime: Runtime, version: str, problem: str) -> dict[str, Any]:
    return {
        "key": runtime.key,
        "label": runtime.label,
        "aliases": list(runtime.aliases),
        "source_name": runtime.source_name,
        "is_compiled": runtime.compile is not None,
        "is_available": not problem,
        "version": version,
        "problem": problem,
        "minimum_limits": dict(runtime.minimum),
        "minimum_compile_limits": dict(runtime.compile_minimum),
    }


def _ranges(default: Limits, maximum: Limits) -> dict[str, dict[str, int]]:
    return {
        name: {"default": getattr(default, name), "maximum": getattr(maximum, name)}
        for name in LIMIT_NAMES
    }
