from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings


class ExecutionsConfig(AppConfig):
    name = "executions"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Registers itself where the OpenAPI document looks for it.
        from executions.api import security  # noqa: F401, PLC0415
        from executions.runtimes import probe  # noqa: PLC0415

        probe.keep_in(settings.VAR_DIR / "versions.json")
