"""Faults while programs run in pods: python -m executions.tests.kubernetes.faults.

As executions.tests.faults, with a cluster (KUBECONFIG, SANDBOX_IMAGE). Each scenario
has a deployment, and a namespace, of its own.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from kubernetes import client

from executions.sandbox.kubernetes import WARM_PREFIX
from executions.tests.faults.__main__ import main
from executions.tests.faults.invariants import Violation, check_all, require
from executions.tests.faults.load import Load
from executions.tests.faults.scenarios import (
    ANY_ATTEMPTS,
    Scenario,
    kill_and_watch,
)
from executions.tests.kubernetes.clusters import (
    IMAGE,
    a_namespace,
    core_api,
    pods_in_use,
)
from testing.api_proxy import ApiProxy, Refusal, Request, through_a_proxy
from testing.deployment import Deployment
from testing.servers import ServerFailed, wait_until

SCENARIOS: dict[str, Scenario] = {}
POOL = '{"small.python": [3, 6]}'
ORPHANS_GONE_S = 60.0
KILLS = 2


class Faulty:
    """A deployment with pods, a load on it, and the cluster's own view of them."""

    def __init__(
        self,
        deployment: Deployment,
        load: Load,
        namespace: str,
        core: client.CoreV1Api,
        proxy: ApiProxy,
    ) -> None:
        self.deployment, self.load = deployment, load
        self.namespace = namespace
        self.core = core
        self.faults = proxy.faults

    def pods(self) -> list[Any]:
        return list(self.core.list_namespaced_pod(self.namespace).items)

    def delete(self, pod: Any) -> None:
        with contextlib.suppress(client.ApiException):
            self.core.delete_namespaced_pod(
                pod.metadata.name, self.namespace, grace_period_seconds=0
            )

    def check(self) -> str:
        """Check the invariants, and that no pod is left but those that wait."""
        self.load.stop()
        rows = check_all(
            self.deployment,
            self.load,
            settle_s=240,
            attempts=lambda row: row["attempt"] in ANY_ATTEMPTS,
        )
        left: list[str] = []

        def none_left() -> bool:
            left[:] = pods_in_use(self.deployment, self.core, self.namespace)
            return not left

        try:
            wait_until(none_left, "no pod left", timeout_s=ORPHANS_GONE_S)
        except ServerFailed as error:
            raise Violation(f"I6: pods {left} are left") from error
        again = sum(row["attempt"] > 1 for row in rows.values())
        return f"{len(self.load.accepted)} runs, {again} of them tried again"


@contextlib.contextmanager
def under_load(
    rng: random.Random, *, workers: int = 2, controllers: int = 1
) -> Iterator[Faulty]:
    # Past the proxy, through which all of the deployment speaks.
    core = core_api()
    with a_namespace() as namespace, through_a_proxy() as proxy:
        settings = {
            "SANDBOX_BACKEND": "kubernetes",
            "SANDBOX_NAMESPACE": namespace,
            "SANDBOX_IMAGE": IMAGE,
            "SANDBOX_POOL": POOL,
        }
        with Deployment(
            workers=workers, controllers=controllers, settings=settings
        ) as deployment:
            wait_until(
                lambda: (
                    deployment.rows(
                        "SELECT 1 FROM executions_sandboxpod WHERE state = 'ready'"
                    )
                    != []
                ),
                "a pod waits",
                timeout_s=60,
            )
            # About what one node can make pods for.
            load = Load(deployment.client(), rng, clients=2, pause_s=1.0).start()
            try:
                yield Faulty(deployment, load, namespace, core, proxy)
            finally:
                load.stop()


def scenario(row: str) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[row] = function
        return function

    return register


@scenario("R1-worker")
def kill_workers(rng: random.Random) -> str:
    """kill -9 a worker: adopted within 20 s, started only once, exact output."""
    slowest = 0.0
    with under_load(rng) as faulty:
        for _ in range(KILLS):
            time.sleep(rng.uniform(1, 5))
            victim = rng.choice(faulty.deployment.workers)
            slowest = max(slowest, kill_and_watch(faulty.deployment, victim))
            victim.start()
        return f"{faulty.check()}, owned again after at most {slowest:.1f} s"


@scenario("controller")
def kill_controllers(rng: random.Random) -> str:
    """kill -9 one of two controllers, again and again: the pool is kept."""
    with under_load(rng, controllers=2) as faulty:
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.5, 4))
            victim = rng.choice(faulty.deployment.controllers)
            victim.kill()
            time.sleep(rng.uniform(0, 3))
            victim.start()
        return faulty.check()


@scenario("pod-ready")
def delete_waiting_pods(rng: random.Random) -> str:
    """Delete pods that wait: no run notices, and others take their place."""
    with under_load(rng) as faulty:
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.5, 4))
            waiting = [
                p for p in faulty.pods() if p.metadata.name.startswith(WARM_PREFIX)
            ]
            if waiting:
                faulty.delete(rng.choice(waiting))
        return faulty.check()


@scenario("pod-busy")
def delete_busy_pods(rng: random.Random) -> str:
    """Delete pods that run programs: each of those runs gets another attempt."""
    deleted = 0
    with under_load(rng) as faulty:
        for _ in range(KILLS):
            time.sleep(rng.uniform(0.5, 4))
            busy = faulty.deployment.rows(
                "SELECT name FROM executions_sandboxpod WHERE state = 'busy'"
            )
            names = [row["name"] for row in busy]
            for pod in [p for p in faulty.pods() if p.metadata.name in names][:1]:
                faulty.delete(pod)
                deleted += 1
        told = faulty.check()
        require(deleted <= KILLS, "I3", deleted)
        return f"{told}, {deleted} busy pods deleted"


QUOTA = (
    'Operation cannot be fulfilled on resourcequotas "sandboxes": the object has been '
    "modified; please apply your changes to the latest version and try again"
)
REFUSALS = (
    Refusal(429, "TooManyRequests", headers=(("Retry-After", "1"),)),
    Refusal(500, "InternalError"),
    Refusal(504, "Timeout", is_late=True),
    Refusal(409, "Conflict", QUOTA),
    Refusal(401, "Unauthorized"),
)


@scenario("api-errors")
def answer_with_errors(rng: random.Random) -> str:
    """Every third call fails in one of the ways of API servers, creates made or not."""

    def refuse(request: Request) -> Refusal | None:
        is_call = request.verb in ("create", "get", "delete")
        return rng.choice(REFUSALS) if is_call and rng.random() < 1 / 3 else None

    with under_load(rng) as faulty:
        faulty.faults.refuse = refuse
        time.sleep(rng.uniform(8, 16))
        faulty.faults.refuse = lambda _: None
        return faulty.check()


@scenario("api-outage")
def lose_the_api_server(rng: random.Random) -> str:
    """Away for up to a minute: what waits is used, what cannot start waits."""
    with under_load(rng) as faulty:
        time.sleep(rng.uniform(0.5, 3))
        faulty.faults.is_down = True
        away_s = rng.uniform(20, 60)
        time.sleep(away_s)
        faulty.faults.is_down = False
        return f"away for {away_s:.0f} s, {faulty.check()}"


@scenario("watch")
def break_the_watch(rng: random.Random) -> str:
    """No word without an end, then versions that are too old."""

    def refuse(request: Request) -> Refusal | None:
        is_bad = request.verb == "watch" and rng.random() < 1 / 2
        return Refusal(410, "Expired", "too old resource version") if is_bad else None

    with under_load(rng) as faulty:
        time.sleep(rng.uniform(0.5, 3))
        faulty.faults.is_stalled = True
        time.sleep(rng.uniform(10, 30))
        faulty.faults.is_stalled = False
        faulty.faults.refuse = refuse
        time.sleep(rng.uniform(2, 8))
        faulty.faults.refuse = lambda _: None
        return faulty.check()


if __name__ == "__main__":
    sys.exit(main(SCENARIOS, "executions.tests.kubernetes.faults"))
