"""Runs the suites at a running server: python -m executions.tests.suites --url …"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from executions.tests.suites import (
    bait,
    host_scan,
    over_http,
    refused_table,
    runner,
    verdicts_of_host,
)
from executions.tests.suites.benign_table import BENIGN
from executions.tests.suites.hostile_table import HOSTILE
from executions.tests.suites.program import Program

HOG = "import time\nend = time.monotonic() + 1800\nwhile time.monotonic() < end: pass"


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    programs = runner.selected(
        _suite(options.suite), only=options.only, skip=options.skip
    )
    server = over_http.Server(options.url, options.key)
    available = server.runtimes()
    missing = [p for p in programs if not available.get(p.runtime, False)]
    programs = [p for p in programs if p not in missing]
    for program in missing:
        _say(f"not run  {program.id}: {program.runtime} is not available here")
    state = Path(options.state) if options.state else None
    failed = len(missing) if options.strict else 0
    for fault in () if options.only else refused_table.faults(server):
        _say(f"FAILED   {fault}")
        failed += 1
    with _hogs(2 if options.beside_hogs else 0):
        for number in range(1, options.rounds + 1):
            _say(f"round {number} of {options.rounds}: {len(programs)} programs")
            failed += run_round(server, programs, options.clients, state)
    return 1 if failed else 0


def run_round(
    server: runner.Driver, programs: Sequence[Program], clients: int, state: Path | None
) -> int:
    """Run all once, look at the host before and after, and count the faults."""
    extra = (str(state),) if state else ()
    before = host_scan.scan(state)
    with bait.laid_out(extra) as laid:
        facts = verdicts_of_host.facts(laid)
        suite = runner.Suite(server, laid, clients=clients, told=_tell)
        reports = suite.run(programs)
        faults = verdicts_of_host.faults(facts, laid)
        nonce = laid.nonce
    after = host_scan.scan(state)
    faults += host_scan.left_overs(before, after, host_scan.Ours(nonce=nonce))
    failed = [report for report in reports if not report.passed]
    for line in faults:
        _say(f"HOST     {line}")
    _say(
        f"{len(reports) - len(failed)} of {len(reports)} as expected, "
        f"{len(faults)} changes on the host"
    )
    for report in failed:
        _say(f"  {report.program.id}: {'; '.join(report.faults)[:300]}")
    return len(failed) + len(faults)


@contextlib.contextmanager
def _hogs(count: int) -> Iterator[None]:
    """Keep `count` CPUs busy meanwhile; they end by themselves after half an hour."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            hog = subprocess.Popen([sys.executable, "-S", "-c", HOG])
            stack.callback(hog.wait)
            stack.callback(hog.kill)
        yield


def _suite(name: str) -> tuple[Program, ...]:
    return {"hostile": HOSTILE, "benign": BENIGN}.get(name, HOSTILE + BENIGN)


def _tell(report: runner.Report) -> None:
    word = "ok" if report.passed else "FAILED"
    verdict = report.seen[0].verdict if report.seen else "-"
    line = f"{word:8} {report.program.id:34} {verdict:14} {report.seconds:6.2f} s"
    _say(line if report.passed else f"{line}  {'; '.join(report.faults)[:400]}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m executions.tests.suites")
    parser.add_argument("--url", required=True, help="of the running server")
    parser.add_argument("--key", required=True, help="an API key")
    parser.add_argument("--suite", choices=("hostile", "benign", "all"), default="all")
    parser.add_argument(
        "--only", nargs="*", default=(), help="ids or rows, such as S15"
    )
    parser.add_argument("--skip", nargs="*", default=())
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--clients", type=int, default=4, help="programs at a time")
    parser.add_argument("--beside-hogs", action="store_true", help="with two CPU hogs")
    parser.add_argument("--state", help="the server's state folder, to be searched")
    parser.add_argument(
        "--strict", action="store_true", help="a missing runtime is a failure"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
