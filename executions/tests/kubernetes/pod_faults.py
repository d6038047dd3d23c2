"""What the cluster, or somebody with rights in it, does to pods."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable

from kubernetes import client

from executions.tests.faults.invariants import require
from executions.tests.kubernetes.deployments import Faulty, pause, scenario

FINALIZER = "coding-platform.example/kept"
PROFILES = (
    '{"small": {"memory_bytes": 268435456, "scratch_bytes": 67108864, '
    '"cpu_request": "25m", "cpu_limit": "1"}, '
    '"large": {"memory_bytes": 1073741824, "scratch_bytes": 536870912, '
    '"cpu_request": "%s", "cpu_limit": "1000"}}'
)
LARGE = {"memory_bytes": 512 << 20}


@scenario("pod-ready")
def delete_waiting_pods(faulty: Faulty, rng: random.Random) -> str:
    """Delete a pod that waits: no run notices, and another takes its place."""
    pause(rng, 0.5, 4)
    victim = rng.choice(faulty.waiting() or [""])
    faulty.delete(victim)
    # A run may have taken it in between.
    return faulty.check(failures=1)


LONG = """\
import time
for n in range(40):
    time.sleep(0.25)
print("done")
"""


def lose(
    faulty: Faulty, rng: random.Random, take_away: Callable[[Faulty, str], None]
) -> str:
    """Take the pod of a run away while it goes on; return the pod's name.

    That run gets another attempt, if it was not faster, and no other does.
    """
    pause(rng, 0.5, 4)
    run = faulty.submit(LONG, limits={"wall_time_ms": 60_000})
    name = faulty.pod_of(run)
    pause(rng, 0, 3)
    take_away(faulty, name)
    row = faulty.ended(run)
    require((row["verdict"], row["stdout"]) == ("ok", b"done\n"), "I4", row)
    # A kubelet that is slow to end a pod lets its program come to its end.
    require((row["attempt"], row["failures"]) in ((2, 1), (1, 0)), "I3", row)
    return name


@scenario("pod-busy")
def delete_busy_pods(faulty: Faulty, rng: random.Random) -> str:
    """Delete a pod that runs a program."""
    lose(faulty, rng, Faulty.delete)
    return faulty.check(failures=1)


@scenario("pod-evicted")
def evict_busy_pods(faulty: Faulty, rng: random.Random) -> str:
    """Evict a pod that runs a program, as a drain does."""
    lose(faulty, rng, evict)
    return faulty.check(failures=1)


@scenario("pod-terminating")
def keep_a_deleted_pod(faulty: Faulty, rng: random.Random) -> str:
    """A pod that is deleted and stays: its run does not wait for it."""
    kept: list[str] = []

    def delete_and_keep(faulty: Faulty, name: str) -> None:
        kept.append(name)
        keep(faulty, name, [FINALIZER])
        faulty.core.delete_namespaced_pod(name, faulty.namespace)

    try:
        name = lose(faulty, rng, delete_and_keep)
        require(faulty.pod(name) is not None, "pod-terminating", f"{name} is gone")
        pause(rng, 0, 5)
    finally:
        for name in kept:
            keep(faulty, name, [])
    return faulty.check(failures=1)


def evict(faulty: Faulty, name: str) -> None:
    eviction = client.V1Eviction(
        metadata=client.V1ObjectMeta(name=name, namespace=faulty.namespace)
    )
    faulty.core.create_namespaced_pod_eviction(name, faulty.namespace, eviction)


def keep(faulty: Faulty, name: str, finalizers: list[str]) -> None:
    # The usual patch would add to the list.
    faulty.core.patch_namespaced_pod(
        name,
        faulty.namespace,
        {"metadata": {"finalizers": finalizers}},
        _content_type="application/merge-patch+json",
    )


@scenario("image-missing", settings={"SANDBOX_IMAGES": "large=nowhere.invalid/x:1"})
def miss_an_image(faulty: Faulty, rng: random.Random) -> str:
    """No image for one size: its runs end with the reason, all others go on."""
    pause(rng, 0, 2)
    run = faulty.submit("print('never')", limits=LARGE)
    row = faulty.ended(run, timeout_s=300)
    require(row["verdict"] == "system_error", "image-missing", row)
    require("image cannot be pulled" in row["reason"], "image-missing", row)
    require(row["failures"] == 2, "image-missing", row)
    return faulty.check(failures=2)


@scenario("unschedulable", settings={"SANDBOX_PROFILES": PROFILES % "900"})
def leave_no_room(faulty: Faulty, rng: random.Random) -> str:
    """No node has room for one size: its runs wait, say why, and can be cancelled."""
    pause(rng, 0, 2)
    run = faulty.submit("print('never')", limits=LARGE)
    time.sleep(rng.uniform(5, 30))
    row = faulty.row(run)
    require(row["status"] in ("queued", "starting"), "unschedulable", row)
    require(row["failures"] == 0, "unschedulable", row)
    answer = faulty.deployment.client().request(
        "POST", f"/api/v1/executions/{run}/cancel"
    )
    require(answer.status in (200, 202), "cancel", (answer.status, answer.body))
    require(faulty.ended(run)["status"] == "cancelled", "cancel", run)
    return faulty.check()


@scenario("quota")
def use_up_the_quota(faulty: Faulty, rng: random.Random) -> str:
    """No pod may be made for a while: runs wait for those that there are."""
    name = f"faults-{secrets.token_hex(3)}"
    pause(rng, 0.5, 3)
    faulty.core.create_namespaced_resource_quota(
        faulty.namespace,
        {
            "metadata": {"name": name},
            "spec": {"hard": {"pods": str(rng.randint(0, 2))}},
        },
    )
    try:
        pause(rng, 5, 25)
    finally:
        faulty.core.delete_namespaced_resource_quota(name, faulty.namespace)
    return faulty.check()
