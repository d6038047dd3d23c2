"""Shows whether every language that there is really works in its sandbox.

With pods that is what their image has, without one what this machine has.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from executions import backends, runtimes, toolchains
from executions.management import tables
from executions.runtimes import prepare, probe, selftest
from executions.runtimes.base import Runtime
from executions.runtimes.probe import Probe
from executions.runtimes.selftest import Allowed, Result
from executions.sandbox.base import Backend, SandboxError

COLUMNS = {
    "Language": 24,
    "Key": 10,
    "Version": 12,
    "Verdict": 11,
    "Compile": 8,
    "Run": 8,
    "Notes": 0,
}
STYLES = {"ok": "", "failed": tables.BAD, "unavailable": tables.FAINT}


class Command(BaseCommand):
    help = (
        "Run the self-test program of each language in a sandbox. "
        "Fails when a language that is available does not work."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("keys", nargs="*", help="only these; keys or aliases")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument(
            "--require",
            type=int,
            default=0,
            metavar="N",
            help="fail when fewer than N languages work",
        )
        parser.add_argument(
            "--no-prepare",
            action="store_true",
            help="do not fill the compilers' caches first, where that was not done",
        )

        parser.add_argument(
            "--only-prepare",
            action="store_true",
            help="fill the compilers' caches and run nothing",
        )

    def handle(
        self,
        *,
        keys: Sequence[str],
        json: bool,
        require: int,
        no_prepare: bool,
        only_prepare: bool,
        **_options: Any,
    ) -> str:
        chosen = _chosen(keys)
        if only_prepare or (not no_prepare and settings.SANDBOX_BACKEND == "jail"):
            self._prepare(chosen)
        if only_prepare:
            return "the compilers have their caches"
        try:
            results = self._json(chosen) if json else self._table(chosen)
        finally:
            backends.close()
        works = [result for result in results if result.verdict == "ok"]
        failed = [r.runtime.key for r in results if r.verdict == "failed"]
        summary = f"{len(works)} of {len(results)} languages work"
        if failed:
            raise CommandError(f"{summary}; failed: {', '.join(failed)}")
        if len(works) < require:
            raise CommandError(f"{summary}, and {require} have to")
        return "" if json else summary

    def _prepare(self, chosen: Sequence[Runtime]) -> None:
        base = Path(settings.SANDBOX_PREPARED_DIR)
        for runtime in prepare.needed(base):
            if runtime not in chosen:
                continue
            what = f"preparing {runtime.label}, once on this machine"
            with tables.working(what, is_slow=True):
                try:
                    prepare.prepare(runtime, base)
                except prepare.NotPrepared as error:
                    self.stderr.write(f"{runtime.label} will be slow: {error}")

    def _results(self, chosen: Sequence[Runtime]) -> Iterator[Result]:
        allowed = Allowed(
            run=settings.RUN_DEFAULT,
            run_maximum=settings.RUN_MAX,
            compile=settings.COMPILE_DEFAULT,
            compile_maximum=settings.COMPILE_MAX,
        )
        backend = backends.current()
        if problems := backends.problems():
            if settings.SANDBOX_BACKEND != "plain":
                raise CommandError(f"no program can be run here: {problems}")
            self.stderr.write(problems)
        find = self._finder(backend)
        for number, runtime in enumerate(chosen, start=1):
            with tables.working(f"{number} of {len(chosen)}: {runtime.label}"):
                result = selftest.run(backend, find(runtime), allowed)
            yield result

    def _finder(self, backend: Backend) -> Callable[[Runtime], Probe]:
        """Return what tells of a runtime whether it is there."""
        if toolchains.are_here():
            return probe.probe
        try:
            return selftest.Images(backend).find
        except SandboxError as error:
            raise CommandError(str(error)) from error

    def _table(self, chosen: Sequence[Runtime]) -> list[Result]:
        table, results = tables.Table(self.stdout, COLUMNS), []
        for result in self._results(chosen):
            results.append(result)
            table.add(_as_row(result), STYLES[result.verdict])
        table.finish()
        return results

    def _json(self, chosen: Sequence[Runtime]) -> list[Result]:
        results = list(self._results(chosen))
        self.stdout.write(json.dumps([_as_dict(each) for each in results], indent=2))
        return results


def _chosen(keys: Sequence[str]) -> tuple[Runtime, ...]:
    try:
        return tuple(runtimes.get(key) for key in keys) or runtimes.all()
    except runtimes.UnknownRuntime as error:
        raise CommandError(str(error)) from error


def _milliseconds(value: int | None) -> str:
    return "" if value is None else f"{value} ms"


def _as_row(result: Result) -> tuple[str, ...]:
    return (
        result.runtime.label,
        result.runtime.key,
        result.version,
        result.verdict,
        _milliseconds(result.compile_ms),
        _milliseconds(result.run_ms),
        result.problem,
    )


def _as_dict(result: Result) -> dict[str, Any]:
    return {
        "key": result.runtime.key,
        "label": result.runtime.label,
        "version": result.version,
        "verdict": result.verdict,
        "problem": result.problem,
        "packages": list(result.runtime.packages),
        "compile_ms": result.compile_ms,
        "run_ms": result.run_ms,
        "total_ms": result.total_ms,
        "cpu_ms": result.cpu_ms,
        "memory_peak_bytes": result.memory_peak_bytes,
    }
