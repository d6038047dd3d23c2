"""Faults while programs run in pods: python -m executions.tests.kubernetes.faults.

As executions.tests.faults, with a cluster (KUBECONFIG, SANDBOX_IMAGE). All rounds of a
scenario have one deployment, and one namespace. Scenarios that say so want the node to
themselves and run only when they are named.
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

from executions.tests.faults.__main__ import main
from executions.tests.faults.scenarios import kill_and_watch
from executions.tests.kubernetes import (  # noqa: F401 - they register themselves
    hostile_faults,
    node_faults,
    pod_faults,
)
from executions.tests.kubernetes.deployments import (
    SCENARIOS,
    Faulty,
    pause,
    scenario,
)
from testing.api_proxy import Refusal, Request

ROUNDS_IN_ONE = 10


# --- processes


@scenario("R1-worker")
def kill_workers(faulty: Faulty, rng: random.Random) -> str:
    """kill -9 a worker: adopted within 20 s, started only once, exact output."""
    pause(rng, 1, 5)
    while not (owners := faulty.owners()):
        pause(rng, 0, 0.5)
    victim = rng.choice(owners)
    killed = kill_and_watch(faulty.deployment, victim)
    victim.start()
    # Of one that has no pod nobody can say that it never had.
    told = faulty.check(failures=killed.starting)
    return f"{told}, owned again after {killed.took_s:.1f} s"


@scenario("controller", controllers=2)
def kill_controllers(faulty: Faulty, rng: random.Random) -> str:
    """kill -9 one of two controllers: the pool is kept, and no pod is one too many."""
    pause(rng, 0.5, 4)
    victim = rng.choice(faulty.deployment.controllers)
    victim.kill()
    pause(rng, 0, 3)
    victim.start()
    return faulty.check()


# --- the API server

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
    Refusal(503, "ServiceUnavailable"),
)


@scenario("api-errors")
def answer_with_errors(faulty: Faulty, rng: random.Random) -> str:
    """Every third call fails in one of the ways of API servers, creates made or not."""
    kinds = itertools.cycle(rng.sample(REFUSALS, len(REFUSALS)))
    given: Counter[int] = Counter()

    def refuse(request: Request) -> Refusal | None:
        if request.verb not in ("create", "get", "delete") or rng.random() > 1 / 3:
            return None
        refusal = next(kinds)
        given[refusal.status] += 1
        return refusal

    faulty.faults.refuse = refuse
    pause(rng, 8, 16)
    told = faulty.check()
    return f"{told}, {', '.join(f'{n} times {s}' for s, n in sorted(given.items()))}"


@scenario("api-outage")
def lose_the_api_server(faulty: Faulty, rng: random.Random) -> str:
    """Away for up to a minute: what waits is used, what cannot start waits."""
    pause(rng, 0.5, 3)
    faulty.faults.is_down = True
    away_s = rng.uniform(20, 60)
    return f"away for {away_s:.0f} s, {outlast(faulty, rng, away_s)}"


def outlast(faulty: Faulty, rng: random.Random, seconds: float) -> str:
    """Let a fault last, and in every other round a worker start meanwhile; check."""
    is_restarted = rng.random() < 1 / 2
    worker = rng.choice(faulty.deployment.workers)
    before_s = rng.uniform(0, seconds / 2)
    time.sleep(before_s)
    if is_restarted:
        worker.kill()
        worker.start(wait=False)
    time.sleep(seconds - before_s)
    faulty.faults.heal()
    worker.wait_ready()
    told = faulty.check(failures=len(faulty.load.accepted) if is_restarted else 0)
    return f"a worker started meanwhile: {is_restarted}, {told}"


def expired(verbs: tuple[str, ...]) -> Callable[[Request], Refusal | None]:
    answer = Refusal(401, "Unauthorized", "Unauthorized")
    return lambda request: answer if request.verb in verbs else None


@scenario("api-token")
def expire_the_token(faulty: Faulty, rng: random.Random) -> str:
    """401 for all calls, for longer than they are repeated: no run fails for it."""
    pause(rng, 0.5, 3)
    faulty.faults.refuse = expired(("create", "get", "delete", "list", "watch"))
    expired_s = rng.uniform(15, 40)
    return f"expired for {expired_s:.0f} s, {outlast(faulty, rng, expired_s)}"


@scenario("api-stall")
def stall_the_api_server(faulty: Faulty, rng: random.Random) -> str:
    """Calls are obeyed and not answered for up to 30 s, and nothing ends."""
    longest_s = rng.uniform(5, 30)
    pause(rng, 0.5, 3)
    faulty.faults.is_stalled = True
    faulty.faults.hold_s = lambda _: longest_s
    time.sleep(rng.uniform(10, 40))
    return f"answers after {longest_s:.0f} s, {faulty.check()}"


@scenario("watch")
def break_the_watch(faulty: Faulty, rng: random.Random) -> str:
    """No word without an end, then versions that are too old."""

    def refuse(request: Request) -> Refusal | None:
        is_bad = request.verb == "watch" and rng.random() < 1 / 2
        return Refusal(410, "Expired", "too old resource version") if is_bad else None

    pause(rng, 0.5, 3)
    faulty.faults.is_stalled = True
    pause(rng, 10, 30)
    faulty.faults.is_stalled = False
    faulty.faults.refuse = refuse
    pause(rng, 2, 8)
    return faulty.check()


if __name__ == "__main__":
    sys.exit(
        main(
            {row: rounds.opened for row, rounds in SCENARIOS.items()},
            "executions.tests.kubernetes.faults",
            alone=[row for row, rounds in SCENARIOS.items() if rounds.is_alone],
            apart=ROUNDS_IN_ONE,
        )
    )
