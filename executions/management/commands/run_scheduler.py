"""Repairs what the queue may have lost, and deletes what is old: see scheduler.py.

A loop of its own rather than a periodic task, as it must work when the queue does not.
"""

from __future__ import annotations

import signal
from typing import Any

from django.core.management.base import BaseCommand

from executions.scheduler import Scheduler


class Command(BaseCommand):
    help = "Ring for forgotten executions and delete old ones, until stopped."

    def handle(self, **_: Any) -> str:
        scheduler = Scheduler()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: scheduler.stop())
        self.stderr.write("scheduler ready")
        scheduler.run()
        return "scheduler stopped"
