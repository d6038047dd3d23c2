"""The operator's view of executions: everything to read, nothing to edit.

What an operator may do with a run goes through services, like everybody else's wish.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from executions import presentation, runtimes, services
from executions.models import FINAL, Execution, ExecutionQuerySet

if TYPE_CHECKING:
    ExecutionAdminBase = admin.ModelAdmin[Execution]
else:
    ExecutionAdminBase = admin.ModelAdmin

UUID_TEXT = re.compile(r"[0-9a-fA-F-]{32,36}")


class RuntimeFilter(admin.SimpleListFilter):
    """Offers the declared runtimes; asking the table for its values reads all of it."""

    title = "runtime"
    parameter_name = "runtime"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]
    ) -> list[tuple[str, str]]:
        return [(runtime.key, runtime.label) for runtime in runtimes.all()]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Execution]
    ) -> QuerySet[Execution]:
        return queryset.filter(runtime=self.value()) if self.value() else queryset


@admin.register(Execution)
class ExecutionAdmin(ExecutionAdminBase):
    list_display = (
        "short_id",
        "outcome",
        "runtime",
        "owner",
        "queued",
        "took",
        "attempt",
    )
    list_display_links = ("short_id",)
    list_filter = (
        "status",
        "verdict",
        RuntimeFilter,
        "queued_at",
        ("owner", admin.RelatedOnlyFieldListFilter),
    )
    list_select_related = ("owner",)
    list_per_page = 50
    show_full_result_count = False
    date_hierarchy = "queued_at"
    search_fields = ("owner__username",)
    search_help_text = "The id of an execution, or part of a user name"
    actions = ("cancel",)
    ordering = ("-queued_at", "-id")

    fieldsets = (
        (None, {"fields": ("id", "outcome", "reason", "owner", "runtime")}),
        ("Result", {"fields": ("streams", "measured")}),
        ("Program", {"fields": ("program",)}),
        (
            "Journey",
            {
                "fields": (
                    "queued_at",
                    "started_at",
                    "recorded_at",
                    "journey",
                    "attempt",
                    "sandbox",
                    "lease_owner",
                    "lease_until",
                    "deadline_at",
                    "cancel_requested_at",
                )
            },
        ),
        ("Limits applied", {"fields": ("applied_limits",)}),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Execution | None = None
    ) -> bool:
        return False

    def has_delete_permission(
        self, request: HttpRequest, obj: Execution | None = None
    ) -> bool:
        """Never: retention deletes (prune_executions), and users are deactivated."""
        return False

    def has_view_permission(
        self, request: HttpRequest, obj: Execution | None = None
    ) -> bool:
        user = request.user
        return user.has_perm("executions.view_execution") or self._may_act(request)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self._may_act(request)

    @staticmethod
    def _may_act(request: HttpRequest) -> bool:
        return request.user.has_perm("executions.change_execution")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution]:
        queryset = super().get_queryset(request)
        match = request.resolver_match
        if match and (match.url_name or "").endswith("_changelist"):
            return cast(ExecutionQuerySet, queryset).without_content()
        return queryset

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Execution], search_term: str
    ) -> tuple[QuerySet[Execution], bool]:
        wanted = search_term.strip()
        if UUID_TEXT.fullmatch(wanted):
            try:
                return queryset.filter(pk=UUID(wanted)), False
            except ValueError:
                pass
        return super().get_search_results(request, queryset, search_term)

    @display(description="id", ordering="id")
    def short_id(self, execution: Execution) -> str:
        return str(execution.id)[:8]

    @display(description="outcome", ordering="verdict")
    def outcome(self, execution: Execution) -> SafeString:
        return render_to_string(
            "executions/_verdict.html",
            {"status": execution.status, "verdict": execution.verdict},
        )

    @display(description="took")
    def took(self, execution: Execution) -> str:
        ended_ms = execution.ended_ms
        return "" if ended_ms is None else presentation.duration(ended_ms)

    @display(description="queued at", ordering="queued_at")
    def queued(self, execution: Execution) -> str:
        return f"{execution.queued_at:%Y-%m-%d %H:%M:%S}"

    @display(description="output")
    def streams(self, execution: Execution) -> SafeString:
        return _rendered(
            "streams", execution=execution, stages=list(presentation.stages(execution))
        )

    @display(description="measured")
    def measured(self, execution: Execution) -> SafeString:
        rows = [
            (f"{stage.title}: {label}", value)
            for stage in presentation.stages(execution)
            for label, value in stage.facts
        ]
        return _rendered("facts", rows=rows)

    @display(description="times")
    def journey(self, execution: Execution) -> SafeString:
        return _rendered("facts", rows=list(presentation.timeline(execution)))

    @display(description="limits")
    def applied_limits(self, execution: Execution) -> SafeString:
        rows = [
            (
                row.label,
                f"{row.run} (compile: {row.compile})" if row.compile else row.run,
            )
            for row in presentation.limit_rows(execution)
        ]
        return _rendered("facts", rows=rows)

    @display(description="files and input")
    def program(self, execution: Execution) -> SafeString:
        return _rendered("program", **presentation.program(execution))

    @admin.action(description="Cancel the selected executions", permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Execution]) -> None:
        wanted = list(queryset.exclude(status__in=FINAL))
        for execution in wanted:
            services.cancel(execution)
        finished = queryset.count() - len(wanted)
        text = f"Asked {len(wanted)} to end."
        if finished:
            text += f" {finished} had ended already."
        self.message_user(request, text, messages.SUCCESS)


def _rendered(part: str, **context: Any) -> SafeString:
    """Render with the partials of the pages, which escape what users wrote."""
    return render_to_string(f"executions/_{part}.html", {"is_admin": True, **context})
