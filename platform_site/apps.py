from __future__ import annotations

from django.apps import AppConfig


class PlatformSiteConfig(AppConfig):
    name = "platform_site"

    def ready(self) -> None:
        # Registers the Celery application that bells are rung through, and the checks.
        from platform_site import celery, checks  # noqa: F401, PLC0415
