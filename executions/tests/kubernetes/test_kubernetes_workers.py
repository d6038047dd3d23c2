"""Whole deployments whose programs run in pods, and workers that die."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterator

import pytest
from kubernetes import client

from executions.sandbox.manifests import SELECTOR
from executions.tests.faults.invariants import check_all
from executions.tests.faults.load import Load
from executions.tests.faults.scenarios import kill_and_watch
from executions.tests.kubernetes.conftest import IMAGE, until
from testing.deployment import Deployment

pytestmark = pytest.mark.cluster

ORPHANS_SECONDS = 60.0


@pytest.fixture
def deployment(namespace: str) -> Iterator[Deployment]:
    settings = {
        "SANDBOX_BACKEND": "kubernetes",
        "SANDBOX_NAMESPACE": namespace,
        "SANDBOX_IMAGE": IMAGE,
    }
    with Deployment(workers=2, concurrency=4, settings=settings) as made:
        yield made


def test_hello_over_http(deployment: Deployment) -> None:
    answer = deployment.client().submit(
        wait_s=60, runtime="python", source="print('from a pod')"
    )
    assert answer.status == 201
    assert (answer.body["verdict"], answer.body["reason"]) == ("ok", "")
    assert answer.body["stdout"] == "from a pod\n"


def test_runs_of_killed_workers_are_followed_by_others(
    deployment: Deployment, core: client.CoreV1Api, namespace: str
) -> None:
    seed = int(os.environ.get("FAULT_SEED", secrets.randbelow(10**9)))
    print(f"FAULT_SEED={seed}")
    rng = random.Random(seed)
    load = Load(deployment.client(), rng, clients=3, pause_s=0.3).start()
    try:
        for _ in range(2):
            until(lambda: is_running(deployment), 60)
            victim = rng.choice(deployment.workers)
            kill_and_watch(deployment, victim)
            victim.start()
    finally:
        load.stop()
    # Killed before it told of a pod, a run is claimed again: it may have to start anew.
    check_all(deployment, load, attempts=lambda row: row["attempt"] in (1, 2, 3))
    assert load.accepted

    def left() -> list[str]:
        pods = core.list_namespaced_pod(namespace, label_selector=SELECTOR).items
        return [pod.metadata.name for pod in pods]

    until(lambda: not left(), ORPHANS_SECONDS)


def is_running(deployment: Deployment) -> bool:
    query = "SELECT 1 FROM executions_execution WHERE status = 'running'"
    return bool(deployment.rows(query))
