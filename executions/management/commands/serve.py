"""Everything in one process, for one machine: web, worker, scheduler, sandboxes."""

from __future__ import annotations

import signal
import socket
import threading
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts.models import ApiKey, User
from executions.embedded import Embedded
from platform_site import garbage, webserver


class Command(BaseCommand):
    help = "Serve everything from this one process until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8002, help="0 takes a free one")

    def handle(self, *, host: str, port: int, **_: Any) -> str:
        self._require_memory_broker()
        self._require_migrations()
        self._require_free(host, port)
        is_over = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: is_over.set())
        embedded = Embedded()
        try:
            embedded.start(lambda: webserver.serve_in_process(host, port, self._greet))
            garbage.settle()
            while not is_over.wait(3600):
                pass
        except OSError as error:
            raise CommandError(f"{host}:{port} cannot be served: {error}") from error
        finally:
            self._say("Stopping…")
            embedded.stop(self._say)
        return "Stopped."

    def _require_memory_broker(self) -> None:
        if not settings.CELERY_BROKER_URL.startswith("memory"):
            raise CommandError(
                "serve is one process with its queue in memory: unset"
                " CELERY_BROKER_URL, or start web, worker and scheduler themselves"
            )

    def _require_migrations(self) -> None:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            raise CommandError("the database is not up to date: manage.py migrate")

    def _require_free(self, host: str, port: int) -> None:
        """Fail before anything is started rather than after."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            raise CommandError(f"{host}:{port} cannot be served: {error}") from error

    def _greet(self, host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        self._say(f"Coding Platform on http://{shown}:{port}/  (Ctrl-C stops it)")
        if not User.objects.exists():
            self._say("  first user:  manage.py createsuperuser")
        if not ApiKey.objects.usable().exists():
            self._say("  API key:     manage.py create_api_key USER")
        connection.close()

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
