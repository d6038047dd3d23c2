"""Floods of output pass through the worker without filling its memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from executions.tests.suites import bait, runner
from executions.tests.suites.benign_table import BENIGN
from executions.tests.suites.hostile_table import HOSTILE
from executions.tests.suites.serving import Serving, serving

pytestmark = pytest.mark.jail

ALLOWED_GROWTH_BYTES = 50 * 1024 * 1024
CLIENTS = 4
ORDINARY = [p for p in BENIGN if p.id in {"S33-sum-python", "S33-near-output"}]
FLOODS = [p for p in HOSTILE if p.row == "S20"]


@pytest.fixture(scope="module")
def served() -> Iterator[Serving]:
    with serving() as server:
        yield server


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} has no VmRSS")


def test_floods_do_not_fill_the_worker(served: Serving) -> None:
    is_over = threading.Event()
    sizes = []

    def measure() -> None:
        while not is_over.wait(0.02):
            sizes.append(resident_bytes(served.process.pid))

    with bait.laid_out() as laid:
        suite = runner.Suite(served.server, laid, clients=CLIENTS)
        suite.run(ORDINARY * 4)  # what a worker needs once for all
        before = resident_bytes(served.process.pid)
        thread = threading.Thread(target=measure)
        thread.start()
        try:
            reports = suite.run(FLOODS * 2)
        finally:
            is_over.set()
            thread.join()
    assert [report.faults for report in reports if report.faults] == []
    assert max(sizes) - before < ALLOWED_GROWTH_BYTES
