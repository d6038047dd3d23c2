"""Names each part that is missing to run programs here, and how to get it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from executions import backends, diagnosis
from executions.diagnosis import Finding, State
from executions.management import tables

HEADINGS = ("Part", "State", "Found", "What to do")
STYLES = {State.OK: "", State.WARNING: "yellow", State.MISSING: tables.BAD}


class Command(BaseCommand):
    help = "Look at every part that running programs needs; fail when one is missing."
    # They are a part of what is looked at, and must not keep the rest from it.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, json: bool, **_options: Any) -> str:
        try:
            found = self._look()
        finally:
            backends.close()
        if json:
            self._print_json(found)
        else:
            styles = [STYLES[finding.state] for finding in found]
            rows = [(f.part, f.state.value, f.found, f.remedy) for f in found]
            tables.show(self.stdout, HEADINGS, rows, styles)
        missing = [finding.part for finding in found if finding.state is State.MISSING]
        if missing:
            raise CommandError(f"programs cannot be run here: {', '.join(missing)}")
        return "" if json else "programs can be run here"

    def _look(self) -> list[Finding]:
        console = tables.terminal_of_errors()
        if console is None:
            return list(diagnosis.findings())
        with console.status("looking"):
            return list(diagnosis.findings())

    def _print_json(self, found: Sequence[Finding]) -> None:
        report = {
            "can_run": diagnosis.can_run(found),
            "parts": [asdict(finding) for finding in found],
        }
        self.stdout.write(json.dumps(report, indent=2))
