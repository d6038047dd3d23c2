from __future__ import annotations

from django.apps import AppConfig


class ExecutionsConfig(AppConfig):
    name = "executions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Registers itself where the OpenAPI document looks for it.
        from executions.api import security  # noqa: F401, PLC0415
