"""Every program of the suites over HTTP, against a real server with real jails."""

from __future__ import annotations

import os
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from django.conf import settings

from executions import runtimes
from executions.runtimes import prepare, probe
from executions.tests.suites import (
    bait,
    host_scan,
    refused_table,
    runner,
    verdicts_of_host,
)
from executions.tests.suites.benign_table import BENIGN
from executions.tests.suites.hostile_table import HOSTILE
from executions.tests.suites.program import Program
from executions.tests.suites.serving import Serving, serving

pytestmark = pytest.mark.jail

CLIENTS = 3
SECRET = "SUITEMARK-server-environment-7d3f1c2a9b8e4f60"
PROGRAMS = [
    program
    for program in HOSTILE + BENIGN
    if probe.is_available(runtimes.get(program.runtime))
]


@dataclass(slots=True)
class Round:
    """What one round over all programs left in our hands."""

    reports: dict[str, runner.Report] = field(default_factory=dict)
    host: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    left_after_stop: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    victims: list[int] | None = None
    health_s: list[float] = field(default_factory=list)
    exit_code: int = -1


@pytest.fixture(scope="module")
def played() -> Round:
    """One round on an otherwise unused server, which is then stopped."""
    base = Path(settings.SANDBOX_PREPARED_DIR)
    for runtime in prepare.needed(base):
        prepare.prepare(runtime, base)
    found = Round()
    before = host_scan.scan()
    with serving({"SUITE_SECRET": SECRET}, prepared=str(base)) as served:
        _play(served, found)
        found.exit_code = served.stop()
        ours = host_scan.Ours(served.state, served.process.pid)
        found.left_after_stop = host_scan.left_overs(before, host_scan.scan(), ours)
    return found


def _play(served: Serving, found: Round) -> None:
    ours = host_scan.Ours(served.state, served.process.pid)
    idle = host_scan.settled(ours)
    with bait.laid_out((str(served.folder),)) as laid, _Probing(served, found):
        laid.secrets.append(SECRET.encode())
        facts = verdicts_of_host.facts(laid)
        found.refused = refused_table.faults(served.server)
        suite = runner.Suite(served.server, laid, clients=CLIENTS)
        reports = suite.run(PROGRAMS)
        found.host = verdicts_of_host.faults(facts, laid)
    found.reports = {report.program.id: report for report in reports}
    found.left = idle.compared_with(host_scan.settled(ours))
    if os.geteuid() == 0:
        found.victims = host_scan.memory_victims(served.state)


class _Probing:
    """Ask for the API's health all the time, as another user would."""

    def __init__(self, served: Serving, found: Round) -> None:
        self._served, self._found = served, found
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._is_over.wait(0.2):
            begun = time.monotonic()
            self._served.server.call("GET", "/api/health/")
            self._found.health_s.append(time.monotonic() - begun)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.id)
def test_suite_program_ends_as_expected(program: Program, played: Round) -> None:
    assert played.reports[program.id].faults == []


def test_suite_leaves_the_host_as_it_was(played: Round) -> None:
    assert played.host == []


def test_suite_leaves_only_the_warm_pool(played: Round) -> None:
    assert played.left == []


def test_suite_kills_none_but_programs_for_memory(played: Round) -> None:
    if played.victims is None:  # the kernel's log is for root
        return
    assert played.victims
    assert min(played.victims) >= host_scan.FIRST_JAIL_UID


def test_requests_of_the_suite_are_refused_by_name(played: Round) -> None:
    assert played.refused == []


def test_suite_leaves_the_api_responsive(played: Round) -> None:
    assert len(played.health_s) > 20
    assert statistics.quantiles(played.health_s, n=20)[-1] < 1.0


def test_stopped_server_leaves_nothing(played: Round) -> None:
    assert played.exit_code == 0
    assert played.left_after_stop == []


def test_suite_ran_what_it_promises(played: Round) -> None:
    ran = [report.program.suite for report in played.reports.values() if report.seen]
    assert ran.count("hostile") >= 60
    assert len(ran) - ran.count("hostile") >= 40
