"""Runs the suites through pods: python -m executions.tests.kubernetes.suites.

With a cluster (KUBECONFIG, SANDBOX_IMAGE), in a namespace and with a deployment of its
own: a hello in every runtime that the image has, then every program of the suites. At
the end no pod may be left, and nothing of one on the node, if that is this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from kubernetes import client, watch

from executions import runtimes
from executions.runtimes import probe, selftest
from executions.sandbox.kubernetes import KubernetesBackend
from executions.sandbox.manifests import DEFAULT_PROFILES, Cluster, uid_of
from executions.tests.kubernetes import in_pods
from executions.tests.kubernetes.clusters import (
    IMAGE,
    a_namespace,
    core_api,
    pods_in_use,
)
from executions.tests.suites import host_scan, over_http, runner
from executions.tests.suites.__main__ import run_round
from executions.tests.suites.benign_table import BENIGN
from executions.tests.suites.hostile_table import HOSTILE
from executions.tests.suites.program import Program
from testing.deployment import Deployment
from testing.servers import ServerFailed, wait_until

POOL = '{"small.python": [3, 5], "small": [2, 3], "large": [3, 4]}'
GONE_S = 60.0
CLIENTS = 3
# The hostile must not cost a second attempt. Waiting for room on the node costs none.
TRIED_AGAIN = """
    SELECT runtime, failures, reason FROM executions_execution WHERE failures > 0
"""


@dataclass(slots=True)
class Pods:
    """Every pod that a namespace has had, by name, with the uid of its object."""

    core: client.CoreV1Api
    namespace: str
    seen: dict[str, str] = field(default_factory=dict)

    def follow(self) -> None:
        """Take note of pods until the namespace is gone, in a thread of its own."""
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        listed = self.core.list_namespaced_pod
        with contextlib.suppress(Exception):
            for event in watch.Watch().stream(listed, self.namespace):
                metadata = event["object"].metadata
                self.seen[metadata.name] = metadata.uid

    def delete_all(self) -> None:
        """Delete what waits, and return once the node has let go of every pod."""
        delete = self.core.delete_collection_namespaced_pod
        delete(self.namespace, grace_period_seconds=1)
        wait_until(
            lambda: not self.core.list_namespaced_pod(self.namespace).items,
            "every pod gone",
            timeout_s=GONE_S,
        )

    def traces(self) -> list[str]:
        """Return what this machine still holds of the pods that there were."""
        scan = host_scan.scan()
        users = {uid_of(name) for name in self.seen}
        objects = set(self.seen.values())
        found = [str(p) for p in scan.processes.values() if p.uid in users]
        for kind in ("mounts", "cgroups", "files", "ipc"):
            found += [
                f"{kind}: {line}"
                for line in sorted(getattr(scan, kind))
                if _uid_in(line) in users or any(uid in line for uid in objects)
            ]
        return found


def _uid_in(line: str) -> int:
    text = line.rpartition(" uid ")[2]
    return int(text) if text.isdigit() else -1


@dataclass(slots=True)
class Deployed:
    """A deployment whose programs run in pods, and a view of these pods."""

    deployment: Deployment
    server: over_http.Server
    pods: Pods

    def hellos(self) -> int:
        """Run the self-test of every runtime; return 1 if that fails."""
        try:
            _say(self.deployment.manage("selftest_runtimes").rstrip())
        except subprocess.CalledProcessError as error:
            _say(error.stdout.rstrip())
            return 1
        return 0

    def faults(self) -> list[str]:
        """Return what no program may cause: a second attempt, a pod that stays."""
        found = [f"tried again: {row}" for row in self.deployment.rows(TRIED_AGAIN)]
        for worker in self.deployment.workers:
            log = worker.log_since_start().decode(errors="replace")
            found += [line for line in log.splitlines() if " starts again: " in line]
        left: list[str] = []

        def is_none_left() -> bool:
            left[:] = pods_in_use(self.deployment, self.pods.core, self.pods.namespace)
            return not left

        with contextlib.suppress(ServerFailed):
            wait_until(is_none_left, "no pod in use", timeout_s=GONE_S)
        return found + [f"pod left: {name}" for name in left]


def settings_of(namespace: str) -> dict[str, str]:
    return {
        "SANDBOX_BACKEND": "kubernetes",
        "SANDBOX_NAMESPACE": namespace,
        "SANDBOX_IMAGE": IMAGE,
        "SANDBOX_RUNTIMES": told_by_image(namespace),
        "SANDBOX_POOL": POOL,
    }


def told_by_image(namespace: str) -> str:
    """Return the runtimes that the image says it has, as SANDBOX_RUNTIMES."""
    profiles = {profile.name: profile for profile in DEFAULT_PROFILES}
    cluster = Cluster(namespace, dict.fromkeys(profiles, IMAGE))
    backend = KubernetesBackend(cluster, profiles, secret=secrets.token_bytes())
    try:
        images = selftest.Images(backend)
        return probe.told(map(images.find, runtimes.all()))
    finally:
        backend.close()


@contextlib.contextmanager
def deployed(core: client.CoreV1Api, namespace: str) -> Iterator[Deployed]:
    pods = Pods(core, namespace)
    pods.follow()
    with Deployment(
        workers=1, controllers=1, concurrency=8, settings=settings_of(namespace)
    ) as deployment:
        url = f"http://127.0.0.1:{deployment.port}"
        yield Deployed(deployment, over_http.Server(url, deployment.key), pods)


def play(
    programs: Sequence[Program], *, clients: int = CLIENTS, has_hellos: bool = False
) -> int:
    """Run programs through pods of a new namespace, and count the faults."""
    core = core_api()
    with a_namespace() as namespace:
        with deployed(core, namespace) as there:
            failed = there.hellos() if has_hellos else 0
            available = there.server.runtimes()
            for program in programs:
                if not available[program.runtime]:
                    _say(f"not run  {program.id}: no {program.runtime} in the image")
            failed += run_round(
                there.server,
                in_pods.expected(p for p in programs if available[p.runtime]),
                clients,
                None,
            )
            faults = there.faults()
        there.pods.delete_all()
        faults += there.pods.traces()
    for fault in faults:
        _say(f"FAILED   {fault}")
    _say(f"{len(there.pods.seen)} pods, {len(faults)} faults of or after them")
    return failed + len(faults)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=(), help="ids or rows: S15")
    parser.add_argument("--skip", nargs="*", default=())
    parser.add_argument("--clients", type=int, default=CLIENTS)
    options = parser.parse_args(argv)
    programs = runner.selected(HOSTILE + BENIGN, only=options.only, skip=options.skip)
    failed = play(programs, clients=options.clients, has_hellos=not options.only)
    return 1 if failed else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
