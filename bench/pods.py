"""python -m bench.pods: what a cold run in a pod costs beyond the pod itself.

Turn by turn with pods that a bare client creates and looks at, without any of our code:
from the create to the moment at which the API server tells the pod's address. Needs
KUBECONFIG, a namespace set up as docs/kubernetes.md says, and the image there.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import threading
import time
from typing import Any

from kubernetes import client, config, watch
from rich.console import Console
from rich.table import Table

from bench.measure import Samples
from executions.limits import Limits
from executions.sandbox import manifests, pods
from executions.sandbox.base import Command, Finished, RunSpec, SourceFile
from executions.sandbox.kubernetes import KubernetesBackend, name_of
from executions.sandbox.manifests import DEFAULT_PROFILES, Cluster

HELLO = SourceFile("main.py", b"print('hello')")
TIMEOUT_S = 120


def bare_ms(core: client.CoreV1Api, namespace: str, image: str) -> float:
    """Return from the create of a pod to its address, in ms, by the client's models."""
    name = f"bare-{secrets.token_hex(4)}"
    profile = DEFAULT_PROFILES[0]
    cluster = Cluster(namespace, {profile.name: image})
    pod: dict[str, Any] = manifests.pod(name, profile, cluster, token="unused")  # noqa: S106
    pod["metadata"]["labels"] = {}
    began = time.perf_counter()
    core.create_namespaced_pod(namespace, pod)
    try:
        for event in watch.Watch().stream(
            core.list_namespaced_pod,
            namespace,
            field_selector=f"metadata.name={name}",
            timeout_seconds=TIMEOUT_S,
        ):
            if event["object"].status.pod_ip:
                return (time.perf_counter() - began) * 1000
    finally:
        core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
    raise TimeoutError(f"{name} has no address after {TIMEOUT_S} s")


def cold_ms(backend: KubernetesBackend) -> dict[str, float]:
    """Run a hello in a new pod; return when it had an address and a result, in ms."""
    key = f"{secrets.token_hex(4)}-1"
    limits = Limits()
    spec = RunSpec(key, (HELLO,), Command(("python3", "main.py"), limits))
    found: dict[str, float] = {}
    began = time.perf_counter()

    def wait_for_address() -> None:
        backend.watch.wait_for(
            name_of(key), lambda s: (s and pods.address(s.pod)) or None, TIMEOUT_S
        )
        found["address"] = (time.perf_counter() - began) * 1000

    waiting = threading.Thread(target=wait_for_address)
    waiting.start()
    session = backend.start(spec)
    for event in session.events():
        if isinstance(event, Finished):
            found["result"] = (time.perf_counter() - began) * 1000
            found["program"] = float(event.outcome.cases[0].wall_time_ms)
            if event.outcome.cases[0].stdout.head != b"hello\n":
                raise ValueError(f"not a hello: {event.outcome}")
    session.acknowledge()
    waiting.join()
    found["beyond"] = found["result"] - found["address"] - found["program"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", default="coding-platform-sandboxes")
    parser.add_argument("--image", default=os.environ.get("SANDBOX_IMAGE", ""))
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    config.load_kube_config()
    core = client.CoreV1Api()
    profiles = {profile.name: profile for profile in DEFAULT_PROFILES}
    cluster = Cluster(options.namespace, dict.fromkeys(profiles, options.image))
    backend = KubernetesBackend(cluster, profiles, secret=secrets.token_bytes(32))
    samples: dict[str, Samples] = {}
    for n in range(options.count + 1):
        turn = {"bare": bare_ms(core, options.namespace, options.image)}
        turn |= cold_ms(backend)
        if n:  # the first one warms up
            for name, value in turn.items():
                samples.setdefault(name, Samples(name, "ms")).values.append(value)
    calls = {" ".join(call): n for call, n in backend.api.calls.read().items()}
    backend.close()
    if options.json:
        values = {name: taken.values for name, taken in samples.items()}
        print(json.dumps({"samples": values, "calls": calls}))
        return
    table = Table(title=f"{options.count} cold runs, ms; calls: {calls}")
    for column in ("", "median", "p90", "most"):
        table.add_column(column, justify="right" if column else "left")
    titles = {
        "bare": "bare client: create to address",
        "address": "ours: create to address",
        "result": "ours: create to result",
        "program": "the program itself",
        "beyond": "address to result, without the program",
    }
    for name, title in titles.items():
        taken = samples[name]
        numbers = (taken.median, taken.percentile(0.9), max(taken.values))
        table.add_row(title, *(f"{number:.0f}" for number in numbers))
    Console().print(table)


if __name__ == "__main__":
    main()
