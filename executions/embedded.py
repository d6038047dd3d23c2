"""The whole platform in one process: what `manage.py serve` runs.

The same Celery worker, scheduler and web server as in a deployment, on threads, with
queues in memory. The fork server of the jails is its only other process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from celery import current_app
from celery.worker import state as celery_state
from django.conf import settings
from django.db import connection

from executions import bells
from executions import worker as workers
from executions.models import Execution
from executions.scheduler import Scheduler

# Celery says None while it runs, and the exit status once it is to stop.
state: Any = celery_state

STOP_S = 10.0


class WebServer(Protocol):
    def stop(self) -> None: ...


class Embedded:
    """Start once, stop once. `serve_web` starts the web server when all else runs."""

    def __init__(self) -> None:
        self._worker = workers.start()
        self._scheduler = Scheduler()
        self._threads: list[threading.Thread] = []
        self._web: WebServer | None = None

    def start(self, serve_web: Callable[[], WebServer]) -> None:
        state.should_stop = None
        is_ready = threading.Event()
        consumer: Any = current_app.WorkController(
            hostname="embedded",
            ready_callback=lambda _: is_ready.set(),
            without_heartbeat=True,
            without_gossip=True,
            without_mingle=True,
        )
        self._spawn("bells", consumer.start)
        self._spawn("scheduler", self._scheduler.run)
        is_ready.wait(STOP_S)
        self._ring_for_earlier()
        self._web = serve_web()

    def _ring_for_earlier(self) -> None:
        """What was queued when the last process ended has no bell in this one."""
        bells.ring(min(Execution.objects.due().count(), settings.WORKER_CONCURRENCY))
        connection.close()

    def _spawn(self, name: str, target: Callable[[], object]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self, tell: Callable[[str], None]) -> None:
        """End everything, the fork server included; nothing is left afterwards."""
        self._scheduler.stop()
        worker = self._worker
        worker.stop(hands_over=False)
        if count := len(worker.runs()):
            tell(f"{count} running: {settings.SERVE_STOP_S:g} s to end")
            if not worker.wait(settings.SERVE_STOP_S):
                tell(f"{len(worker.runs())} killed, they will start again")
                worker.send_back()
                worker.wait(STOP_S)
        if self._web is not None:
            self._web.stop()
        self._stop_consumer()
        worker.close()
        worker.backend.close()

    def _stop_consumer(self) -> None:
        state.should_stop = 0
        bells.wake()
        for thread in self._threads:
            thread.join(STOP_S)
