from __future__ import annotations

from django.urls import path

from executions import views

app_name = "executions"

urlpatterns = [
    path("", views.editor, name="editor"),
    path("favicon.ico", views.favicon),
    path("executions/", views.listing, name="list"),
    path("executions", views.listing),
    path("executions/<uuid:pk>/", views.detail, name="detail"),
    path("executions/<uuid:pk>", views.detail),
    path("executions/<uuid:pk>/result/", views.result, name="result"),
    path("executions/<uuid:pk>/cancel/", views.cancel, name="cancel"),
    path("executions/<uuid:pk>/again/", views.again, name="again"),
    path("executions/<uuid:pk>/output/<slug:name>/", views.output, name="output"),
]
