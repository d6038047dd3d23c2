"""python -m bench.warm: what a run costs in a pod that waited, beside bubblewrap.

Starts PostgreSQL, Redis, web, one worker and the sandbox controller, in a namespace
that is set up as docs/kubernetes.md says. One run a second while the pool is refilled;
then as many at once as wait, with the controller held; then twice as many, with the
controller at work: half of them drain the pool, the others need pods that are still to
be made. Needs KUBECONFIG.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import floors
from bench.client import Connection, request_bytes
from bench.measure import NO_WAIT, OK, WAIT, Samples, spans
from testing.deployment import Deployment
from testing.servers import wait_until

READY = "SELECT count(*) AS n FROM executions_sandboxpod WHERE state = 'ready'"
READY_S = 240.0
PERIOD_S = 1.0
FINAL = ("finished", "cancelled")
FROM_CLAIM = ("claim to sandbox", "sandbox to first output", "first output to end")


class Pods:
    """The deployment, and how many pods of it wait."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.request = request_bytes(
            WAIT, {"runtime": "python", "source": "print(1)\n"}, deployment.key
        )

    def wait_for(self, count: int) -> None:
        wait_until(
            lambda: self.deployment.rows(READY)[0]["n"] >= count,
            f"{count} pods ready",
            timeout_s=READY_S,
        )

    def hello(self, connection: Connection) -> tuple[float, dict[str, Any], float]:
        """Run one; return the seconds it took, the answer, and when it was sent."""
        sent_at, began = time.time(), time.perf_counter()
        answer = connection.post(self.request)
        while answer.get("status") not in FINAL:
            # No request waits for longer than a minute.
            path = f"{NO_WAIT}/{answer['id']}?wait=60"
            answer = self.deployment.client().request("GET", path).body
        took = time.perf_counter() - began
        if answer.get("verdict") != OK:
            raise AssertionError(f"a hello was not ok: {answer}")
        return took, answer, sent_at


def steady(pods: Pods, count: int) -> dict[str, Samples]:
    """One run a second, and the floor before each."""
    taken = {n: Samples(n, "ms") for n in ("bubblewrap", "claim to result", "HTTP")}
    connection = Connection(pods.deployment.port)
    for number in range(count + 3):
        began = time.monotonic()
        # Before the run: after it, a pod is made in its place, and the floor waits.
        floor = floors.bubblewrap_python()
        took, answer, sent_at = pods.hello(connection)
        parts = spans(sent_at, took, answer)
        if number >= 3:
            taken["HTTP"].values.append(took * 1000)
            taken["claim to result"].values.append(sum(parts[n] for n in FROM_CLAIM))
            taken["bubblewrap"].values.append(floor * 1000)
        time.sleep(max(0.0, PERIOD_S - (time.monotonic() - began)))
    return taken


def burst(pods: Pods, size: int) -> Samples:
    """As many at once as pods wait, while none is made."""
    pods.wait_for(size)
    (controller,) = pods.deployment.controllers
    os.kill(controller.pid, signal.SIGSTOP)
    try:
        return at_once(pods, "burst", size)
    finally:
        os.kill(controller.pid, signal.SIGCONT)


def drained(pods: Pods, size: int) -> Samples:
    """Twice as many at once as pods wait."""
    pods.wait_for(size)
    return at_once(pods, "drained", 2 * size)


def at_once(pods: Pods, name: str, count: int) -> Samples:
    connections = [Connection(pods.deployment.port) for _ in range(count)]
    with ThreadPoolExecutor(count) as threads:
        answers = list(threads.map(pods.hello, connections))
    return Samples(name, "ms", [took * 1000 for took, _, _ in answers])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", default="coding-platform-sandboxes")
    parser.add_argument("--image", default=os.environ.get("SANDBOX_IMAGE", ""))
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--burst", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    settings = {
        "LOG_LEVEL": "WARNING",
        "SANDBOX_BACKEND": "kubernetes",
        "SANDBOX_NAMESPACE": options.namespace,
        "SANDBOX_IMAGE": options.image,
        "SANDBOX_POOL": json.dumps({"small.python": [options.burst, options.burst]}),
    }
    with Deployment(
        controllers=1, concurrency=2 * options.burst, settings=settings
    ) as deployment:
        pods = Pods(deployment)
        pods.wait_for(options.burst)
        taken = steady(pods, options.count)
        for samples in (burst(pods, options.burst), drained(pods, options.burst)):
            taken[samples.name] = samples
    if options.json:
        print(json.dumps({name: samples.values for name, samples in taken.items()}))
        return
    floor = taken["bubblewrap"].median
    sizes = f"burst of {options.burst}, drained by {2 * options.burst}"
    table = Table(title=f"{options.count} runs, one a second; {sizes}")
    columns = ("p50, ms", "p90", "p99", "all", "p50 / bubblewrap", "p99 / bubblewrap")
    for column in ("", *columns):
        table.add_column(column, justify="right" if column else "left")
    for name, samples in taken.items():
        numbers = [samples.median, samples.percentile(0.9), samples.percentile(0.99)]
        numbers.append(max(samples.values))
        ratios = [samples.median / floor, samples.percentile(0.99) / floor]
        cells = [*(f"{n:.1f}" for n in numbers), *(f"{r:.2f}" for r in ratios)]
        table.add_row(name, *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
