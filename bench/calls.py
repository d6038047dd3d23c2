"""python -m bench.calls: API calls that a run costs, as the API server counts them.

Worker and sandbox controller have accounts of their own, so that nobody else's calls
are counted. Runs one after the other: in pods that waited, then, without a controller,
in pods made for them; and what one has cost by the time that its program runs. Needs
KUBECONFIG, a namespace set up as docs/kubernetes.md says, and the image there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from bench.accounts import VERBS, Accounts, accounts
from bench.client import Connection
from bench.measure import NO_WAIT
from bench.warm import Pods
from testing.deployment import Deployment
from testing.scrape import told
from testing.servers import free_port, wait_until

FOLLOWING = ("list", "watch")
PAUSE_S = 2.0
# Longer than it takes to count, shorter than a program may.
PROGRAM = "import time; time.sleep(8)"

Count = tuple[Counter[str], Counter[str]]
"""What the API server counted, and what the process itself did."""


@dataclass(frozen=True)
class Row:
    """What some runs cost one account: calls by verb, and what it counted itself."""

    name: str
    runs: int
    calls: dict[str, int]
    own: dict[str, int]

    @property
    def a_run(self) -> float:
        """Calls of one run, without those with which all pods are followed."""
        return sum(n for v, n in self.calls.items() if v not in FOLLOWING) / self.runs


class Processes:
    """A deployment whose processes tell their metrics, by the account that each has."""

    def __init__(self, made: Accounts, options: argparse.Namespace, pool: int) -> None:
        self._accounts = made
        self._ports = {"worker": free_port()}
        if pool:
            self._ports["controller"] = free_port()
        settings = {
            "LOG_LEVEL": "WARNING",
            "SANDBOX_BACKEND": "kubernetes",
            "SANDBOX_NAMESPACE": options.namespace,
            "SANDBOX_IMAGE": options.image,
            "SANDBOX_POOL": json.dumps({"small.python": [pool, pool]}),
            "METRICS_HOST": "127.0.0.1",
        }
        self.deployment = Deployment(
            controllers=1 if pool else 0,
            settings=settings | self._own("worker"),
            controller_settings=self._own("controller") if pool else {},
        )

    def _own(self, name: str) -> dict[str, str]:
        port = str(self._ports[name])
        return {"KUBECONFIG": self._accounts.kubeconfig(name), "METRICS_PORT": port}

    def starts(self, how: str) -> float:
        """Return how many runs the worker gave to pods that were warm, or cold."""
        url = f"http://127.0.0.1:{self._ports['worker']}"
        return told(url).get(("sandbox_starts_total", "small.python", how), 0)

    def counted(self) -> dict[str, Count]:
        """Return, for each account, the API server's count and the process's own."""
        return {
            name: (self._accounts.counted(name), self._count(port))
            for name, port in self._ports.items()
        }

    def _count(self, port: int) -> Counter[str]:
        found: Counter[str] = Counter()
        for key, number in told(f"http://127.0.0.1:{port}").items():
            if key[0] == "api_calls_total":
                found[key[2]] += int(number)
        return found

    def settled(self) -> dict[str, Count]:
        """Return the counts once pods are neither made nor deleted any more."""
        last = self.counted()

        def is_quiet() -> bool:
            nonlocal last
            time.sleep(PAUSE_S)
            before, last = last, self.counted()
            return all(
                last[name][0][verb] == before[name][0][verb]
                for name in last
                for verb in VERBS
                if verb not in FOLLOWING
            )

        wait_until(is_quiet, "no more calls", timeout_s=120)
        return last


@contextmanager
def deployed(
    made: Accounts, options: argparse.Namespace, pool: int
) -> Iterator[Processes]:
    processes = Processes(made, options, pool)
    with processes.deployment:
        yield processes


def rows(processes: Processes, how: str, count: int, pool: int) -> list[Row]:
    pods = Pods(processes.deployment)
    pods.wait_for(pool)
    connection = Connection(processes.deployment.port)
    before = processes.settled()
    for _ in range(count):
        pods.wait_for(pool)
        pods.hello(connection)
    pods.wait_for(pool)
    after = processes.settled()
    if processes.starts(how) != count:
        raise AssertionError(f"not all of {count} runs were {how}")
    return [row(f"{how}: {name}", count, before[name], after[name]) for name in after]


def underway(processes: Processes, how: str) -> Row:
    """Count from a request until its program runs."""
    client = processes.deployment.client()
    before = processes.settled()["worker"]
    path = f"{NO_WAIT}/{client.submit(runtime='python', source=PROGRAM).body['id']}"

    def status() -> str:
        return str(client.request("GET", path).body["status"])

    wait_until(lambda: status() == "running", "the program runs", timeout_s=60)
    after = processes.counted()["worker"]
    if status() != "running":
        raise AssertionError("the program ended before the calls were counted")
    client.request("GET", f"{path}?wait=60")
    return row(f"{how}: worker, until it runs", 1, before, after)


def row(name: str, runs: int, before: Count, after: Count) -> Row:
    calls, own = (
        {verb: later[verb] - earlier[verb] for verb in VERBS}
        for earlier, later in zip(before, after, strict=True)
    )
    return Row(name, runs, calls, own)


def show(found: list[Row]) -> None:
    table = Table(
        title="API calls, as the API server counts them",
        caption="A run: without list and watch, by which all pods are followed.",
    )
    table.add_column("", no_wrap=True)
    for title in ("runs", *VERBS, "a run", "own count"):
        table.add_column(title, justify="right")
    for row in found:
        own = sum(n for verb, n in row.own.items() if verb not in FOLLOWING)
        calls = [str(row.calls[verb]) for verb in VERBS]
        cells = [str(row.runs), *calls, f"{row.a_run:.2f}", f"{own / row.runs:.2f}"]
        table.add_row(row.name, *cells)
    Console(width=110).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", default="coding-platform-sandboxes")
    parser.add_argument("--image", default=os.environ.get("SANDBOX_IMAGE", ""))
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--pool", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with accounts(options.namespace, "worker", "controller") as made:
        with deployed(made, options, options.pool) as processes:
            found = rows(processes, "warm", options.count, options.pool)
            found.append(underway(processes, "warm"))
        with deployed(made, options, 0) as processes:
            found += rows(processes, "cold", options.count, 0)
            found.append(underway(processes, "cold"))
    if options.json:
        print(json.dumps([asdict(row) for row in found]))
    else:
        show(found)


if __name__ == "__main__":
    main()
