"""Shows whether every language that this machine has really works in its sandbox."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from executions import backends, runtimes
from executions.management import tables
from executions.runtimes import prepare, selftest
from executions.runtimes.base import Runtime
from executions.runtimes.selftest import Allowed, Result

HEADINGS = ("Language", "Key", "Version", "Verdict", "Compile", "Run", "Notes")
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

    def handle(
        self,
        *,
        keys: Sequence[str],
        json: bool,
        require: int,
        no_prepare: bool,
        **_options: Any,
    ) -> str:
        chosen = _chosen(keys)
        if not no_prepare and settings.SANDBOX_BACKEND == "jail":
            self._prepare(chosen)
        try:
            results = list(self._results(chosen))
        finally:
            backends.close()
        if json:
            self._print_json(results)
        else:
            self._print_table(results)
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
            with _working(f"preparing {runtime.label}, once on this machine"):
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
        if problems := "; ".join(backend.problems()):
            if settings.SANDBOX_BACKEND != "plain":
                raise CommandError(f"no program can be run here: {problems}")
            self.stderr.write(problems)
        for runtime in chosen:
            with _working(runtime.label):
                yield selftest.run(backend, runtime, allowed)

    def _print_table(self, results: Sequence[Result]) -> None:
        rows = [
            (
                result.runtime.label,
                result.runtime.key,
                result.version,
                result.verdict,
                _milliseconds(result.compile_ms),
                _milliseconds(result.run_ms),
                result.problem,
            )
            for result in results
        ]
        styles = [STYLES[result.verdict] for result in results]
        tables.show(self.stdout, HEADINGS, rows, styles)

    def _print_json(self, results: Sequence[Result]) -> None:
        self.stdout.write(json.dumps([_as_dict(each) for each in results], indent=2))


def _chosen(keys: Sequence[str]) -> tuple[Runtime, ...]:
    try:
        return tuple(runtimes.get(key) for key in keys) or runtimes.all()
    except runtimes.UnknownRuntime as error:
        raise CommandError(str(error)) from error


@contextmanager
def _working(what: str) -> Iterator[None]:
    console = tables.terminal_of_errors()
    if console is None:
        yield
    else:
        with console.status(what):
            yield


def _milliseconds(value: int | None) -> str:
    return "" if value is None else f"{value} ms"


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
