"""URLs of the API, each with and without its last slash: a POST is never redirected."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, re_path

from executions.api import health, schema, views

app_name = "api"

UUID = r"(?P<pk>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"


def both(route: str, view: Any, name: str) -> URLPattern:
    pattern: URLPattern = re_path(rf"^{route}/?$", view, name=name)
    return pattern


urlpatterns = [
    both("v1/executions", views.Executions.as_view(), "executions"),
    both(f"v1/executions/{UUID}", views.ExecutionDetail.as_view(), "execution"),
    both(f"v1/executions/{UUID}/cancel", views.ExecutionCancel.as_view(), "cancel"),
    both("v1/runtimes", views.Runtimes.as_view(), "runtimes"),
    both("v1/limits", views.LimitsView.as_view(), "limits"),
    re_path(r"^v1/openapi\.json$", schema.OpenApi.as_view(), name="openapi"),
    both("v1/docs", schema.docs, "docs"),
    both("health", health.Health.as_view(), "health"),
    both("ready", health.Ready.as_view(), "ready"),
]
