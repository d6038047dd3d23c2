"""Keeps pods ready for programs (SANDBOX_BACKEND=kubernetes): see controller.py."""

from __future__ import annotations

import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from executions import backends
from executions.controller import Controller, sizes_from


class Command(BaseCommand):
    help = "Keep sandbox pods ready, and take away those of no use, until stopped."

    def handle(self, **_: Any) -> str:
        if settings.SANDBOX_BACKEND != "kubernetes":
            raise CommandError("SANDBOX_BACKEND is not kubernetes: there are no pods.")
        backend = backends.pods()
        try:
            sizes = sizes_from(settings.SANDBOX_POOL, backend.profiles)
        except ValueError as error:
            raise CommandError(f"SANDBOX_POOL: {error}") from error
        controller = Controller(backend, sizes)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: controller.stop())
        if settings.METRICS_PORT:
            # Imported here: as in worker.start().
            from executions import metrics  # noqa: PLC0415

            metrics.serve(metrics.of_controller(controller, backend))
        self.stderr.write("sandbox controller ready")
        controller.run()
        backend.close()
        return "sandbox controller stopped"
