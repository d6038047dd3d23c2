"""Deletes finished executions by age; the scheduler does the same every hour."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from executions import services


class Command(BaseCommand):
    help = "Delete finished and cancelled executions that are older than some days."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--older-than-days",
            type=float,
            default=None,
            metavar="DAYS",
            help="default: RETENTION_DAYS",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="only say how many it would be"
        )

    def handle(self, *, older_than_days: float | None, dry_run: bool, **_: Any) -> str:
        days = settings.RETENTION_DAYS if older_than_days is None else older_than_days
        if days < 0 or (older_than_days is None and not days):
            raise CommandError("say how old with --older-than-days; nothing is deleted")
        count = services.prune(older_than=timedelta(days=days), dry_run=dry_run)
        what = "would be deleted" if dry_run else "deleted"
        return f"{count} executions older than {days:g} days {what}"
