"""Whole deployments whose programs run in pods."""

from __future__ import annotations

import random
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from executions.sandbox.manifests import uid_of
from executions.tests.kubernetes import faults  # noqa: F401 - it has the scenarios
from executions.tests.kubernetes.clusters import IMAGE
from executions.tests.kubernetes.deployments import (
    FIRST_POD_UID,
    NAMED,
    SCENARIOS,
    Shared,
    Witness,
)
from testing.deployment import Client, Deployment
from testing.scrape import told
from testing.servers import free_port, wait_until

pytestmark = pytest.mark.cluster

PROVEN = "SELECT 1 FROM executions_sandboxcheck WHERE checked_at IS NOT NULL"
READY = "SELECT name FROM executions_sandboxpod WHERE state = 'ready'"


def settings(namespace: str) -> dict[str, str]:
    return {
        "SANDBOX_BACKEND": "kubernetes",
        "SANDBOX_NAMESPACE": namespace,
        "SANDBOX_IMAGE": IMAGE,
        "SANDBOX_POOL": '{"small.python": [2, 2]}',
    }


def ran_as(client: Client) -> int:
    """Run a program over HTTP, and return the user that it was."""
    answer = client.submit(
        wait_s=60, runtime="python", source="import os; print(os.getuid())"
    )
    assert answer.status == 201
    assert (answer.body["verdict"], answer.body["reason"]) == ("ok", "")
    return int(answer.body["run"]["stdout"])


def test_hello_over_http(namespace: str) -> None:
    with Deployment(workers=1, settings=settings(namespace)) as deployment:
        assert ran_as(deployment.client()) >= 1_000_000_000


def test_hello_over_http_in_a_pod_that_waited(namespace: str) -> None:
    with Deployment(
        workers=1, controllers=1, settings=settings(namespace)
    ) as deployment:
        for _ in range(3):
            wait_until(
                lambda: len(deployment.rows(READY)) == 2, "2 pods wait", timeout_s=60
            )
            uids = {uid_of(row["name"]) for row in deployment.rows(READY)}
            assert ran_as(deployment.client()) in uids


def test_metrics_tell_of_a_run_in_a_pod_that_waited(namespace: str) -> None:
    ports = free_port(), free_port()
    both = {"METRICS_HOST": "127.0.0.1", "METRICS_PORT": str(ports[0])}
    with Deployment(
        workers=1,
        controllers=1,
        settings=settings(namespace) | both,
        controller_settings={"METRICS_PORT": str(ports[1])},
    ) as deployment:
        worker, controller = (f"http://127.0.0.1:{port}" for port in ports)
        wait_until(
            lambda: told(controller)["sandbox_pods", "small.python", "ready"] == 2,
            "the controller tells of 2 pods",
            timeout_s=60,
        )
        assert told(controller)["sandbox_pods_wanted", "small.python"] == 2
        assert told(controller)["api_calls_total", "201", "create"] >= 2
        wait_until(lambda: deployment.rows(PROVEN) != [], "a canary", timeout_s=60)
        before = told(worker)
        assert before["executions_total", "ok"] == 0
        ran_as(deployment.client())

        deletions = before.get(("api_calls_total", "200", "delete"), 0)

        def is_told() -> bool:
            now = told(worker)
            return now.get(("api_calls_total", "200", "delete"), 0) > deletions

        wait_until(is_told, "the worker tells of its call", timeout_s=30)
        now = told(worker)
        assert now["executions_total", "ok"] == 1
        assert now["sandbox_starts_total", "small.python", "warm"] == 1
        assert now["claim_wait_seconds_count",] == 1
        for stage in ("sandbox", "first_output", "program", "record"):
            assert now["stage_seconds_count", stage] == 1
        created = "api_calls_total", "201", "create"
        assert now.get(created) == before.get(created)
        assert now["api_calls_total", "200", "watch"] >= 1
        assert now["watch_age_seconds",] < 60
        assert now["watch_relists_total",] == 0
        orphans = [n for key, n in told(controller).items() if "orphans" in key[0]]
        assert orphans == [0, 0]


def test_witness_sees_a_program_that_runs_twice() -> None:
    nonce = secrets.token_hex(8)
    source = NAMED.format(nonce=nonce) + "import time; time.sleep(60)"
    words = [str(Path(sys.executable).resolve()), "-c", source]
    with Witness() as witness:
        both = [subprocess.Popen(words, user=FIRST_POD_UID + n) for n in (1, 2)]
        try:
            wait_until(lambda: nonce[:15] in witness.at_once, "both are seen")
        finally:
            for each in both:
                each.kill()
                each.wait()
    assert witness.starts(nonce) == 2


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    made = Shared()
    yield made
    made.close()


# Those that can share a deployment, one after the other.
ROWS = sorted(
    (row for row, rounds in SCENARIOS.items() if not rounds.is_alone),
    key=lambda row: str(SCENARIOS[row].options),
)


@pytest.mark.parametrize("row", ROWS)
def test_fault(row: str, shared: Shared) -> None:
    seed = secrets.randbelow(2**31)
    print(f"python -m executions.tests.kubernetes.faults {row} --seed {seed}")
    print(shared.once(SCENARIOS[row], random.Random(seed)))
