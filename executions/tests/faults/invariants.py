"""The invariants that hold after every fault, checked over SQL and the host.

I1 every accepted run reaches one final status; I2 it never changes; I3 no second
verdict; I4 our failure is never shown as the program's; I5 what was not accepted got a
clear error; I6 nothing is left behind.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from executions.tests.faults.load import Accepted, Load
from testing.deployment import Deployment, Row
from testing.servers import wait_until

SETTLE_SECONDS = 120.0
FINAL = ("finished", "cancelled")
ROWS = """
    SELECT id::text, status, verdict, reason, attempt, failures, lease_owner, stdout,
           started_at, recorded_at
    FROM executions_execution ORDER BY queued_at
"""


class Violation(AssertionError):
    """An invariant does not hold."""


def require(condition: bool, invariant: str, what: object) -> None:
    if not condition:
        raise Violation(f"{invariant}: {what}")


def all_rows(deployment: Deployment) -> dict[str, Row]:
    return {row["id"]: row for row in deployment.rows(ROWS)}


def check_all(
    deployment: Deployment,
    load: Load,
    *,
    settle_s: float = SETTLE_SECONDS,
    attempts: Callable[[Row], bool] = lambda row: row["attempt"] == 1,
) -> dict[str, Row]:
    """Wait until all is final, check I1-I6 and return the rows by id.

    `attempts` says which numbers of attempts are right for this fault.
    """
    rows = settle(deployment, settle_s)
    check_outcomes(load.accepted, rows)
    for row in rows.values():
        require(attempts(row), "I3", f"attempt {row['attempt']} of {row['id']}")
    check_refusals(load)
    check_unchanged(deployment, rows)
    check_nothing_left(deployment)
    return rows


def settle(deployment: Deployment, settle_s: float) -> dict[str, Row]:
    """I1: wait until no run is left without a final status."""
    stuck: list[Row] = []

    def all_final() -> bool:
        stuck[:] = [
            r for r in all_rows(deployment).values() if r["status"] not in FINAL
        ]
        return not stuck

    try:
        wait_until(all_final, "every run final", timeout_s=settle_s)
    except RuntimeError as error:
        raise Violation(f"I1: {len(stuck)} stuck, such as {stuck[0]}") from error
    return all_rows(deployment)


def check_outcomes(accepted: list[Accepted], rows: dict[str, Row]) -> None:
    """I1 and I4: nothing accepted is lost, and each has its own exact output."""
    for run in accepted:
        require(run.id in rows, "I1", f"{run.id} was accepted and is not stored")
        row = rows[run.id]
        require(
            (row["status"], row["verdict"]) == ("finished", "ok"),
            "I4",
            f"{run.id} ended {row['status']}/{row['verdict']}: {row['reason']}",
        )
        require(
            run.is_exact(row["stdout"]), "I1", f"{run.id} printed {row['stdout']!r}"
        )


def check_refusals(load: Load) -> None:
    """I5: 4xx or 503, with the one error envelope."""
    for status, body in load.refused:
        require(400 <= status < 500 or status == 503, "I5", f"answered {status}")
        require(
            isinstance(body, dict) and "code" in body.get("error", {}),
            "I5",
            f"{status} without the envelope: {body!r}",
        )


def check_unchanged(deployment: Deployment, before: dict[str, Row]) -> None:
    """I2: what was final stays exactly as it was."""
    time.sleep(1)
    now = all_rows(deployment)
    for key, row in before.items():
        require(now.get(key) == row, "I2", f"{row} became {now.get(key)}")


def check_nothing_left(deployment: Deployment) -> None:
    """I6: no jail but the warm pool, no queued message, no unacknowledged one."""
    used: list[str] = []

    def none_used() -> bool:
        used[:] = used_jails(deployment)
        return not used

    try:
        wait_until(none_used, "jails gone", timeout_s=20)
    except RuntimeError as error:
        raise Violation(f"I6: left behind {used}") from error


def used_jails(deployment: Deployment) -> list[str]:
    """Fork servers that still hold a run, or have one waiting for a jail."""
    return [
        str(state)
        for state in deployment.forkserver_states()
        if state["running"] or state["waiting"]
    ]


def processes_naming(marker: str) -> list[int]:
    """Host processes whose arguments hold the marker, whoever they belong to."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]
