"""Drives the suites: many programs at once, each compared with what must come of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

from executions.tests.suites import host_scan
from executions.tests.suites.bait import Bait
from executions.tests.suites.program import Observed, Program, judge

PEER_HEAD_START_S = 1.0


class Driver(Protocol):
    """Runs one program; safe to use from many threads."""

    def run(self, program: Program, bait: Mapping[str, str]) -> Observed: ...

    def runtimes(self) -> dict[str, bool]: ...


@dataclass(slots=True)
class Report:
    """What came of one program; `faults` is empty when all was as expected."""

    program: Program
    seen: list[Observed] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.faults


class Suite:
    """One round over some programs."""

    def __init__(
        self,
        driver: Driver,
        bait: Bait,
        *,
        clients: int = 4,
        told: Callable[[Report], None] | None = None,
    ) -> None:
        self._driver = driver
        self._bait = bait
        self._clients = clients
        self._told = told or (lambda report: None)
        self._nonces = 0
        self._lock = threading.Lock()

    def run(self, programs: Sequence[Program]) -> list[Report]:
        """Run everything, in groups that depend on each other, and return all reports.

        Programs whose runtime is missing are not run: that is the caller's to judge.
        """
        with ThreadPoolExecutor(max_workers=self._clients) as pool:
            groups = [pool.submit(self._group, group) for group in grouped(programs)]
            return [report for group in groups for report in group.result()]

    def _group(self, group: Sequence[Program]) -> list[Report]:
        """Run one program, then those that come after it, all under one nonce."""
        names = self._names()
        reports: list[Report] = []
        for program in group:
            if program.beside:
                peer = next(p for p in group if p.id == program.beside)
                reports += self._beside(program, peer, names)
            elif not any(other.beside == program.id for other in group):
                reports.append(self._one(program, names))
        return reports

    def _beside(
        self, program: Program, peer: Program, names: Mapping[str, str]
    ) -> list[Report]:
        with ThreadPoolExecutor(max_workers=1) as pool:
            other: Future[Report] = pool.submit(self._one, peer, names, alone=False)
            time.sleep(PEER_HEAD_START_S)
            report = self._one(program, names, alone=False)
            peer_report = other.result()
        report.faults += _survivors(names)
        return [peer_report, report]

    def _names(self) -> dict[str, str]:
        with self._lock:
            self._nonces += 1
            return self._bait.names | {"nonce": f"{self._bait.nonce}{self._nonces:04x}"}

    def _one(
        self, program: Program, names: Mapping[str, str], *, alone: bool = True
    ) -> Report:
        report = Report(program)
        begun = time.monotonic()
        with ThreadPoolExecutor(max_workers=program.copies) as pool:
            runs = [
                pool.submit(self._driver.run, program, names)
                for _ in range(program.copies)
            ]
            for run in runs:
                self._add(report, run)
        # At this moment the verdict is stored: nothing of the run may be alive.
        if alone:
            report.faults += _survivors(names)
        report.seconds = time.monotonic() - begun
        self._told(report)
        return report

    def _add(self, report: Report, run: Future[Observed]) -> None:
        try:
            seen = run.result()
        except Exception as error:  # noqa: BLE001 - one broken run must not end the round
            report.faults.append(f"not run: {error}")
            return
        report.seen.append(seen)
        report.faults += judge(report.program, seen, self._bait.secrets)


def _survivors(names: Mapping[str, str]) -> list[str]:
    return [f"survivor: {p}" for p in host_scan.processes_naming(names["nonce"])]


def grouped(programs: Sequence[Program]) -> list[list[Program]]:
    """Put programs that name each other into one group, in order."""
    groups: dict[str, list[Program]] = {}
    leader: dict[str, str] = {}
    for program in programs:
        other = program.after or program.beside
        head = leader.get(other, program.id)
        leader[program.id] = head
        groups.setdefault(head, []).append(program)
    return list(groups.values())


def selected(
    programs: Sequence[Program],
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
) -> list[Program]:
    """Choose by the beginning of ids; a chosen one brings what it depends on."""
    chosen = {
        p.id
        for p in programs
        if (not only or any(_matches(p.id, text) for text in only))
        and not any(_matches(p.id, text) for text in skip)
    }
    needed = {p.after or p.beside for p in programs if p.id in chosen} - {""}
    known = {p.id for p in programs}
    kept = [p for p in programs if p.id in chosen | (needed & known)]
    return [
        replace(p, after="", beside="") if (p.after or p.beside) not in known else p
        for p in kept
    ]


def _matches(ident: str, text: str) -> bool:
    return ident == text or ident.startswith(f"{text}-") or ident.startswith(f"{text}/")
