"""All URLs: the API, the pages, accounts and the admin."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("api/", include("executions.api.urls")),
    path("accounts/", include("accounts.urls")),
    path("admin/", admin.site.urls),
    path("", include("executions.urls")),
]

handler400 = "platform_site.failures.bad_request"
handler403 = "platform_site.failures.permission_denied"
handler404 = "platform_site.failures.not_found"
handler500 = "platform_site.failures.server_error"
