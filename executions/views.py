"""The pages: editor, result, list. They parse, authorise, and call services."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from executions import (
    forms,
    languages,
    presentation,
    rules,
    runtimes,
    services,
    specs,
    waiting,
)
from executions.models import Execution

if TYPE_CHECKING:
    from accounts.models import User

MAX_WAIT_S = 30.0
FIRST_WAIT_S = 2
NEXT_WAIT_S = 10
"""How long a page without JavaScript waits at the server: at first shortly, so that one
can cancel, then longer, while the browser still shows the page before."""

PAGE_ROWS = 25


class _SignedInRequest(HttpRequest):
    """What login_required lets through."""

    user: User


# No no-store: the browser's Back must find the program as it was typed.
@cache_control(private=True, no_cache=True)
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def editor(request: _SignedInRequest) -> HttpResponse:
    source = request.POST.get("based_on") or request.GET.get("from")
    earlier = _earlier(request.user, source)
    if request.method == "POST":
        return _submit(request, earlier)
    initial = forms.initial_of(earlier) if earlier else _blank(request)
    form = forms.ProgramForm(initial=initial)
    losses = list(forms.losses_of(earlier)) if earlier else []
    return _editor_page(request, form, earlier, losses=losses)


def _earlier(user: User, text: str | None) -> Execution | None:
    """Return the own execution that a form or an address names, if there is one."""
    try:
        wanted = UUID(text or "")
    except ValueError:
        return None
    return Execution.objects.visible_to(user).filter(pk=wanted).first()


def _blank(request: HttpRequest) -> dict[str, Any]:
    try:
        runtime = runtimes.get(request.GET.get("runtime") or "python")
    except runtimes.UnknownRuntime:
        return {}
    return {"runtime": runtime.key, "source": languages.sample(runtime)}


def _submit(request: _SignedInRequest, earlier: Execution | None) -> HttpResponse:
    others = forms.stored_files(earlier) if earlier else []
    form = forms.ProgramForm(request.POST, kept=[file["path"] for file in others])
    if form.is_valid():
        try:
            execution = _run(request.user, form.submission(others))
        except specs.InvalidSubmission as refusal:
            form.add_refusal(refusal)
        else:
            return redirect(_waiting_url(execution))
    return _editor_page(request, form, earlier, status=400)


def _run(user: User, data: Mapping[str, Any]) -> Execution:
    submission = specs.validate(data, rules=rules.current())
    return services.submit(owner=user, submission=submission)


def _waiting_url(execution: Execution, wait_s: int = FIRST_WAIT_S) -> str:
    return f"{reverse('executions:detail', args=[execution.pk])}?wait={wait_s}"


def _editor_page(
    request: HttpRequest,
    form: forms.ProgramForm,
    earlier: Execution | None,
    *,
    losses: Sequence[str] = (),
    status: int = 200,
) -> HttpResponse:
    choices = languages.choices()
    chosen = form["runtime"].value()
    keep = form["keep"].value() or []
    others = _other_files(earlier)
    context = {
        "form": form,
        "losses": losses,
        "runtimes": choices,
        "runtime_data": {
            each.key: {"source_name": each.source_name, "sample": each.sample}
            for each in choices
        },
        "source_name": next((c.source_name for c in choices if c.key == chosen), ""),
        "limits": [_limit_field(form, limit) for limit in forms.LIMIT_INPUTS],
        "kept_files": [{**file, "is_kept": file["path"] in keep} for file in others],
        "kept_data": _kept_data(earlier, others),
        "show_options": _uses_options(form),
        **(_result_context(earlier) if earlier else {}),
    }
    return render(request, "executions/editor.html", context, status=status)


def _limit_field(form: forms.ProgramForm, limit: forms.LimitInput) -> dict[str, Any]:
    value = form[limit.name].value()
    return {
        "name": limit.name,
        "label": limit.label,
        "unit": limit.unit,
        "scale": limit.scale,
        "step": limit.step,
        "value": "" if value is None else value,
        "default": forms.in_units(limit, getattr(settings.RUN_DEFAULT, limit.name)),
        "maximum": forms.in_units(limit, getattr(settings.RUN_MAX, limit.name)),
    }


def _other_files(earlier: Execution | None) -> list[dict[str, Any]]:
    files = presentation.program_files(earlier) if earlier else ()
    return [
        {"path": file.path, "size_bytes": file.size_bytes}
        for file in files
        if not file.is_entry_point
    ]


def _kept_data(
    earlier: Execution | None, others: list[dict[str, Any]]
) -> list[dict[str, str]]:
    paths = {file["path"] for file in others}
    files = forms.stored_files(earlier) if earlier else []
    return [file for file in files if file["path"] in paths]


def _uses_options(form: forms.ProgramForm) -> bool:
    names = ("args", "env", "keep", *(limit.name for limit in forms.LIMIT_INPUTS))
    return any(form[name].value() for name in names)


def _result_context(execution: Execution) -> dict[str, Any]:
    result: Mapping[str, Any] = execution.result or {}
    return {
        "execution": execution,
        "stages": list(presentation.stages(execution)),
        "timeline": list(presentation.timeline(execution)),
        "limit_rows": list(presentation.limit_rows(execution)),
        "compiles": bool(result.get("compile")),
        "unenforced": result.get("unenforced", ()),
    }


def _wait_s(request: HttpRequest) -> float:
    """Return the seconds that `?wait=` asks for, within bounds; nonsense is 0."""
    try:
        wanted = float(request.GET.get("wait", "0"))
    except ValueError:
        return 0.0
    return min(max(wanted, 0.0), MAX_WAIT_S) if wanted == wanted else 0.0  # noqa: PLR0124


def _own(request: _SignedInRequest, pk: UUID) -> Execution:
    """Return one's own execution; those of others do not exist, as far as one sees."""
    return get_object_or_404(Execution.objects.visible_to(request.user), pk=pk)


def _waited_for(request: HttpRequest, execution: Execution) -> Execution:
    """Wait for the end as long as the request asks for. Raises TooManyWaiters."""
    wait_s = _wait_s(request)
    if execution.is_final or not wait_s:
        return execution
    try:
        return waiting.wait(execution, wait_s)
    except Execution.DoesNotExist:
        raise Http404 from None


@never_cache
@require_GET
@login_required
def detail(request: _SignedInRequest, pk: UUID) -> HttpResponse:
    execution = _own(request, pk)
    with contextlib.suppress(waiting.TooManyWaiters):
        execution = _waited_for(request, execution)
    context = {
        **_result_context(execution),
        **presentation.program(execution),
        "runtime_label": _runtime_label(execution.runtime),
        "waiting_url": _waiting_url(execution, NEXT_WAIT_S),
        "show_details": True,
    }
    return render(request, "executions/detail.html", context)


def _runtime_label(key: str) -> str:
    try:
        return runtimes.get(key).label
    except runtimes.UnknownRuntime:
        return key


@never_cache
@require_GET
@login_required
def result(request: _SignedInRequest, pk: UUID) -> HttpResponse:
    """Answer with the result alone, for pages that are already open.

    With no place to wait that is 503: the page would ask again at once otherwise.
    """
    try:
        execution = _waited_for(request, _own(request, pk))
    except waiting.TooManyWaiters:
        return HttpResponse(status=HTTPStatus.SERVICE_UNAVAILABLE)
    return render(request, "executions/_result.html", _result_context(execution))


@never_cache
@require_GET
@login_required
def output(request: _SignedInRequest, pk: UUID, name: str) -> HttpResponse:
    """Answer with one stream's kept bytes, as a file that no browser interprets."""
    if name not in presentation.STREAMS:
        raise Http404
    execution = _own(request, pk)
    return HttpResponse(
        bytes(getattr(execution, name)),
        content_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}.txt"'},
    )


@require_GET
def favicon(_request: HttpRequest) -> HttpResponse:
    """Lead browsers to the icon where no page names it, as on plain fragments."""
    return redirect(static("img/logo.svg"), permanent=True)


@require_POST
@login_required
def cancel(request: _SignedInRequest, pk: UUID) -> HttpResponse:
    execution = services.cancel(_own(request, pk))
    return redirect(_waiting_url(execution))


@require_POST
@login_required
def again(request: _SignedInRequest, pk: UUID) -> HttpResponse:
    """Run an earlier program once more, byte for byte."""
    earlier = _own(request, pk)
    try:
        execution = _run(request.user, forms.submission_of(earlier))
    except specs.InvalidSubmission as refusal:
        messages.error(request, f"It cannot be run again as it is: {refusal}")
        return redirect(f"{reverse('executions:editor')}?from={earlier.pk}")
    return redirect(_waiting_url(execution))


@never_cache
@require_GET
@login_required
def listing(request: _SignedInRequest) -> HttpResponse:
    filters = forms.FilterForm(request.GET or None)
    executions = filters.narrow(Execution.objects.visible_to(request.user))
    context = {
        "filters": filters,
        "is_filtered": any(request.GET.get(name) for name in filters.fields),
        "page": _page(request, executions),
    }
    return render(request, "executions/list.html", context)


# Reading every output of a page of rows would cost megabytes.
LIST_COLUMNS = ("id", "runtime", "status", "verdict", "reason", "queued_at", "result")


def _page(request: HttpRequest, executions: Any) -> dict[str, Any]:
    """Return one page of rows, and the queries of the pages beside it.

    A page begins at a row, not at a number, so it costs the same however far back, and
    new executions do not move rows from one page to the next.
    """
    before = _position(request.GET.get("before"))
    after = None if before else _position(request.GET.get("after"))
    rows = executions.only(*LIST_COLUMNS)
    if before:
        rows = rows.filter(_older_than(*before))
    if after:
        newer = ~_older_than(*after) & ~Q(pk=after[1])
        rows = rows.filter(newer).order_by("queued_at", "id")
    found = list(rows[: PAGE_ROWS + 1])
    has_more = len(found) > PAGE_ROWS
    shown = found[:PAGE_ROWS]
    if after:
        shown.reverse()
    return {
        "rows": shown,
        "newer": _beside(request, "after", shown, before or (after and has_more)),
        "older": _beside(request, "before", shown[::-1], after or has_more),
    }


def _older_than(at: datetime, pk: UUID) -> Q:
    return Q(queued_at__lt=at) | Q(queued_at=at, pk__lt=pk)


def _position(text: str | None) -> tuple[datetime, UUID] | None:
    """Parse `<time>_<id>` as _beside writes it; anything else is None."""
    at, _, pk = (text or "").partition("_")
    try:
        moment = datetime.fromisoformat(at)
        # OverflowError: a year that only its offset brings within reach.
        return (moment.astimezone(UTC), UUID(pk)) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _beside(
    request: HttpRequest, direction: str, rows: list[Execution], exists: Any
) -> str:
    if not exists or not rows:
        return ""
    query = request.GET.copy()
    query.pop("before", None)
    query.pop("after", None)
    query[direction] = f"{rows[0].queued_at.isoformat()}_{rows[0].pk}"
    return query.urlencode()
