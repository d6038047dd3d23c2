"""Names each part that is missing to run programs here, and how to get it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from executions import backends, diagnosis
from executions.diagnosis import Finding, State
from executions.management import tables

COLUMNS = {"Part": 12, "State": 7, "Found": 48, "What to do": 0}
STYLES = {State.OK: "", State.WARNING: "yellow", State.MISSING: tables.BAD}


class Command(BaseCommand):
    help = "Look at every part that running programs needs; fail when one is missing."
    # They are a part of what is looked at, and must not keep the rest from it.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *, json: bool, **_options: Any) -> str:
        try:
            found = self._json() if json else self._table()
        finally:
            backends.close()
        missing = [finding.part for finding in found if finding.state is State.MISSING]
        if missing:
            raise CommandError(f"programs cannot be run here: {', '.join(missing)}")
        return "" if json else "programs can be run here"

    def _table(self) -> list[Finding]:
        table, found = tables.Table(self.stdout, COLUMNS), []
        with tables.working("looking"):
            for finding in diagnosis.findings():
                found.append(finding)
                row = (finding.part, finding.state.value, finding.found, finding.remedy)
                table.add(row, STYLES[finding.state])
        table.finish()
        return found

    def _json(self) -> list[Finding]:
        found = list(diagnosis.findings())
        report = {
            "can_run": diagnosis.can_run(found),
            "parts": [asdict(finding) for finding in found],
        }
        self.stdout.write(json.dumps(report, indent=2))
        return found
