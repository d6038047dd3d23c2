"""A deployment whose programs run in pods, for scenarios that put faults on it.

One deployment serves any number of rounds. Each round has a load, and a seed, of its
own, and ends when the invariants were checked.
"""

from __future__ import annotations

import contextlib
import random
import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kubernetes import client

from executions.sandbox.manifests import uid_of
from executions.tests.faults.invariants import Violation, check_all, require
from executions.tests.faults.load import Load
from executions.tests.faults.scenarios import Scenario, held_by
from executions.tests.kubernetes.clusters import IMAGE, a_namespace, core_api
from testing.api_proxy import ApiProxy, through_a_proxy
from testing.deployment import Answer, Deployment, Row
from testing.servers import Command, ServerFailed, wait_until

POOL = '{"small.python": [3, 6]}'
SETTLE_S = 240.0
ORPHANS_GONE_S = 60.0
LOOK_S = 0.1
FIRST_POD_UID = 1_000_000_000

# Lets the host tell by a process's name which program it is.
NAMED = 'open("/proc/self/comm", "w").write({nonce!r})\n'
NAME = re.compile(r"[0-9a-f]{15}")

Process = tuple[int, str]
"""A process: its pid, and when it was started."""


class Witness:
    """Sees from the node, past the platform, which programs of a load are alive.

    `seen` maps the first 15 characters of a nonce to the processes that ran under it.
    Only of use where the cluster's node is this machine.
    """

    def __init__(self) -> None:
        self.seen: dict[str, set[Process]] = defaultdict(set)
        self.at_once: list[str] = []
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._look_again_and_again, daemon=True)

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join()

    def _look_again_and_again(self) -> None:
        while not self._halt.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        alive: dict[str, set[Process]] = defaultdict(set)
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            with contextlib.suppress(OSError, IndexError):
                if folder.stat().st_uid < FIRST_POD_UID:
                    continue
                name = (folder / "comm").read_text().strip()
                if NAME.fullmatch(name):
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                    if fields[0] not in "ZX":
                        alive[name].add((int(folder.name), fields[19]))
        for name, processes in alive.items():
            self.seen[name] |= processes
            if len(processes) > 1:
                self.at_once.append(name)

    def starts(self, nonce: str) -> int:
        """Return how many processes were seen to run this program."""
        return len(self.seen.get(nonce[:15], ()))


class Faulty:
    """A deployment with pods, a load on it, and the cluster's own view of them."""

    def __init__(
        self,
        deployment: Deployment,
        namespace: str,
        core: client.CoreV1Api,
        proxy: ApiProxy,
    ) -> None:
        self.deployment = deployment
        self.namespace = namespace
        self.core = core
        self.faults = proxy.faults
        self.load = Load(deployment.client(), random.Random())
        self._witness = Witness()
        self._failed_before = 0

    # --- what a scenario looks at, and lays hands on

    def pods(self) -> list[Any]:
        return list(self.core.list_namespaced_pod(self.namespace).items)

    def pod(self, name: str) -> Any:
        """Return this pod, None when it is not there."""
        return next((p for p in self.pods() if p.metadata.name == name), None)

    def delete(self, name: str) -> None:
        with contextlib.suppress(client.ApiException):
            self.core.delete_namespaced_pod(
                name, self.namespace, grace_period_seconds=0
            )

    def waiting(self) -> list[str]:
        """Return the names of the pods that wait for a program."""
        return self._named("state IN ('starting', 'ready')")

    def busy(self) -> list[str]:
        """Return the names of the pods of the pool that run programs."""
        return self._named("state = 'busy'")

    def owners(self) -> list[Command]:
        """Return the workers that have a run in hand, or several."""
        return [w for w in self.deployment.workers if held_by(self.deployment, w)]

    def wait_busy(self) -> list[str]:
        """Return the names of the pods that run programs, once there is one."""
        found: list[str] = []

        def is_any() -> bool:
            found[:] = self.busy()
            return bool(found)

        wait_until(is_any, "a pod runs a program")
        return found

    def _named(self, condition: str) -> list[str]:
        query = f"SELECT name FROM executions_sandboxpod WHERE {condition}"  # noqa: S608
        return [row["name"] for row in self.deployment.rows(query)]

    def pod_of(self, run: str, timeout_s: float = 60.0) -> str:
        """Return the name of the pod that a run is in, once its program was sent."""
        names: list[str] = []

        def has_one() -> bool:
            row = self.row(run)
            key = f"{run}-{row['attempt']}"
            found = self.deployment.rows(
                "SELECT name FROM executions_sandboxpod WHERE key = %s", key
            )
            names[:] = [each["name"] for each in found] or [f"exec-{key}"]
            return str(row["status"]) == "running"

        wait_until(has_one, f"{run} runs", timeout_s=timeout_s)
        return names[0]

    def row(self, run: str) -> Row:
        """Return the row of one run."""
        (found,) = self.deployment.rows(
            "SELECT id::text, status, verdict, reason, attempt, failures, stdout, "
            "lease_owner FROM executions_execution WHERE id = %s::uuid",
            run,
        )
        return found

    def submit(self, source: str, **fields: Any) -> str:
        """Submit a program beside the load; return its id."""
        answer: Answer = self.deployment.client().submit(
            runtime="python", source=source, **fields
        )
        require(answer.status == 201, "I5", (answer.status, answer.body))
        return str(answer.body["id"])

    def ended(self, run: str, timeout_s: float = 120.0) -> Row:
        """Return a run's row once it is final."""
        wait_until(
            lambda: self.row(run)["status"] in ("finished", "cancelled"),
            f"{run} final",
            timeout_s=timeout_s,
        )
        return self.row(run)

    # --- a round

    def wait_ready(self) -> None:
        query = "SELECT 1 FROM executions_sandboxpod WHERE state = 'ready'"
        wait_until(
            lambda: bool(self.deployment.rows(query)), "a pod waits", timeout_s=60
        )

    @contextlib.contextmanager
    def under_load(self, rng: random.Random) -> Iterator[None]:
        self.wait_ready()
        self._failed_before = self._failures()
        # No more pods are asked for than a small node makes, which others may share.
        self.load = Load(
            self.deployment.client(),
            rng,
            clients=2,
            longest_steps=24,
            pause_s=2.0,
            prologue=NAMED,
            wait_s=30,
        )
        with Witness() as self._witness:
            self.load.start()
            try:
                yield
            finally:
                self.faults.heal()
                self.load.stop()

    def _failures(self) -> int:
        (row,) = self.deployment.rows(
            "SELECT coalesce(sum(failures), 0) AS n FROM executions_execution"
        )
        return int(row["n"])

    def check(self, *, failures: int = 0) -> str:
        """Check the invariants, and that no pod is left but those that wait.

        `failures` is how many attempts this round may have cost in all: as many as
        sandboxes were lost, or known to be.
        """
        self.faults.heal()
        self.load.stop()
        rows = check_all(
            self.deployment, self.load, settle_s=SETTLE_S, attempts=lambda _: True
        )
        failed = self._failures() - self._failed_before
        require(failed <= failures, "I3", f"{failed} attempts failed")
        self._check_started_once(rows)
        self._check_none_left()
        mine = [rows[run.id] for run in self.load.accepted]
        again = sum(row["attempt"] > 1 for row in mine)
        seen = sum(self._witness.starts(run.nonce) > 0 for run in self.load.accepted)
        return (
            f"{len(mine)} runs ({seen} seen alive), {again} claimed again, "
            f"{failed} attempts failed"
        )

    def _check_started_once(self, rows: Mapping[str, Row]) -> None:
        """No program was seen twice, but where an attempt of it failed."""
        # Others may have loads on this node, too.
        mine = {run.nonce[:15] for run in self.load.accepted}
        doubled = mine.intersection(self._witness.at_once)
        require(not doubled, "once", doubled)
        for run in self.load.accepted:
            row = rows[run.id]
            starts = self._witness.starts(run.nonce)
            require(starts <= 1 + row["failures"], "once", f"{starts} starts of {row}")

    def _check_none_left(self) -> None:
        left: list[str] = []

        def none_left() -> bool:
            waiting = self.waiting()
            names = [pod.metadata.name for pod in self.pods()]
            left[:] = [name for name in names if name not in waiting]
            return not left

        try:
            wait_until(none_left, "no pod left", timeout_s=ORPHANS_GONE_S)
        except ServerFailed as error:
            raise Violation(f"I6: pods {left} are left") from error


Round = Callable[[Faulty, random.Random], str]


class Rounds(NamedTuple):
    """What happens in each round of a scenario, and deployed()'s options for it.

    One that `is_alone` runs only when it is named: nobody else can use the node then.
    """

    function: Round
    options: Mapping[str, Any]
    is_alone: bool

    def once(self, faulty: Faulty, rng: random.Random) -> str:
        with faulty.under_load(rng):
            return self.function(faulty, rng)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Scenario]:
        """Bring up a deployment; yield what puts one round of faults on it."""
        with deployed(**self.options) as faulty:
            yield lambda rng: self.once(faulty, rng)


SCENARIOS: dict[str, Rounds] = {}


def scenario(
    row: str, *, is_alone: bool = False, **options: Any
) -> Callable[[Round], Round]:
    """Register what happens in one round; `options` are deployed()'s."""

    def register(function: Round) -> Round:
        SCENARIOS[row] = Rounds(function, options, is_alone)
        return function

    return register


class Shared:
    """A deployment that scenarios with the same options use one after the other."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._options: Mapping[str, Any] | None = None
        self._faulty: Faulty | None = None

    def once(self, rounds: Rounds, rng: random.Random) -> str:
        """Put one round of faults on it; one that fails ends it, too."""
        try:
            if self._faulty is None or rounds.options != self._options:
                self.close()
                self._options = rounds.options
                self._faulty = self._stack.enter_context(deployed(**rounds.options))
            return rounds.once(self._faulty, rng)
        except BaseException:
            self._faulty = None
            # Its folder stays, with the logs.
            self._stack.__exit__(*sys.exc_info())
            raise

    def close(self) -> None:
        self._faulty = None
        self._stack.close()


@contextlib.contextmanager
def deployed(
    *,
    workers: int = 2,
    controllers: int = 1,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Faulty]:
    # Past the proxy, through which all of the deployment speaks.
    core = core_api()
    with a_namespace() as namespace, through_a_proxy() as proxy:
        chosen = {
            "SANDBOX_BACKEND": "kubernetes",
            "SANDBOX_NAMESPACE": namespace,
            "SANDBOX_IMAGE": IMAGE,
            "SANDBOX_POOL": POOL,
            **(settings or {}),
        }
        with Deployment(
            workers=workers, controllers=controllers, settings=chosen
        ) as deployment:
            yield Faulty(deployment, namespace, core, proxy)


def uids(names: list[str]) -> list[int]:
    """Return the users of these pods' processes."""
    return [uid_of(name) for name in names]


def pause(rng: random.Random, least_s: float, most_s: float) -> None:
    time.sleep(rng.uniform(least_s, most_s))
