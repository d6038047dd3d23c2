"""What differs in pods is named, and lets nothing else through."""

from __future__ import annotations

import pytest

from executions.tests.kubernetes.in_pods import DIFFERENT, expected, mounts_known
from executions.tests.suites.benign_table import BENIGN
from executions.tests.suites.hostile_table import HOSTILE
from executions.tests.suites.program import Observed, judge

PROGRAMS = {program.id: program for program in expected(HOSTILE + BENIGN)}


def test_differences_are_of_programs_that_there_are() -> None:
    assert set(DIFFERENT) <= {program.id for program in HOSTILE + BENIGN}


def test_all_else_is_as_in_a_jail() -> None:
    others = {p.id: p for p in HOSTILE + BENIGN if p.id not in DIFFERENT}
    assert {key: PROGRAMS[key] for key in others} == others


def test_no_difference_lets_the_platform_fail() -> None:
    assert not any("system_error" in PROGRAMS[key].verdicts for key in DIFFERENT)


@pytest.mark.parametrize(
    ("ident", "line", "is_fault"),
    [
        ("S1-create-everywhere", "creating /scratch/suite-1a", False),
        ("S1-create-everywhere", "creating /etc/suite-1a", True),
        ("S1-create-everywhere", "creating /scratch/../etc/suite-1a", True),
        ("S2-read-bait", "reading /sys/kernel/notes b'x'", False),
        ("S2-read-bait", "reading /etc/shadow b'x'", True),
        ("S12-reach-agent", "reaching port 8088", False),
        ("S12-reach-agent", "reaching port 80880", True),
        ("S26-network", "interface eth0", False),
        ("S26-network", "tcp 127.0.0.1 b'x'", True),
        ("S2-climb-out", "creating /scratch/suite-1a", True),
    ],
)
def test_only_what_is_named_is_no_escape(
    ident: str, line: str, *, is_fault: bool
) -> None:
    text = f"tried True\nACHIEVED {line}\nDONE\n".encode()
    faults = judge(PROGRAMS[ident], Observed("ok", stdout=text), [])
    assert (f"ACHIEVED {line}" in faults) is is_fault


def test_mount_that_nobody_knows_is_a_fault() -> None:
    def fault(mount: str) -> str | None:
        text = f"mount / ro,relatime\nmount {mount} rw,relatime\n"
        return mounts_known(Observed("ok", stdout=text.encode()))

    assert fault("/scratch") is None
    assert fault("/var/lib") == "writable: {'/var/lib'}"
    assert mounts_known(Observed("ok")) == "no mounts seen"
