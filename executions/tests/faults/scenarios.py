"""One function for each fault row of the threat model; all raise Violation or return.

A scenario gets a random generator, whose seed the caller prints, and starts a
deployment of its own. Moments, victims and lengths come from that generator alone.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psycopg

from executions.tests.faults.invariants import (
    Violation,
    all_rows,
    check_all,
    check_nothing_left,
    check_unchanged,
    processes_naming,
    require,
    settle,
)
from executions.tests.faults.load import Accepted, Load
from testing.deployment import Deployment, Row
from testing.servers import Command, wait_until

Scenario = Callable[[random.Random], str]
SCENARIOS: dict[str, Scenario] = {}

OWNED_AGAIN_SECONDS = 20.0
GRACE_SECONDS = 15.0
BUSY = 20
# From being marked as running to a program's first line, with two busy cores. A second
# start would come a whole lease later.
START_NS = 5 * 10**9
ANY_ATTEMPTS = range(1, 4)


def told(load: Load) -> str:
    return f"{len(load.accepted)} runs, {len(load.refused)} refused"


def scenario(row: str) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[row] = function
        return function

    return register


@contextlib.contextmanager
def under_load(
    rng: random.Random, *, workers: int = 2, **load_options: Any
) -> Iterator[tuple[Deployment, Load]]:
    """A deployment with a load on it, which is stopped on the way out."""
    with Deployment(workers=workers) as deployment:
        load = Load(deployment.client(), rng, **load_options).start()
        try:
            yield deployment, load
        finally:
            load.stop()


@scenario("R1-worker")
def kill_workers(rng: random.Random) -> str:
    """kill -9 a worker, again and again: adopted within 20 s, started only once."""
    slowest = 0.0
    kills = 3
    with under_load(rng, workers=2, clients=4, pause_s=0.2) as (deployment, load):
        for _ in range(kills):
            time.sleep(rng.uniform(0.5, 3))
            victim = rng.choice(deployment.workers)
            slowest = max(slowest, kill_and_watch(deployment, victim).took_s)
            victim.start()
        load.stop()
        rows = check_all(
            deployment, load, attempts=lambda row: row["attempt"] in ANY_ATTEMPTS
        )
        again = sum(row["attempt"] > 1 for row in rows.values())
    return (
        f"{kills} kills, {len(load.accepted)} runs, owned again after at most "
        f"{slowest:.1f} s, {again} claimed again before they had a sandbox"
    )


class Killed(NamedTuple):
    """A worker that was killed: what became of the runs that it had in hand.

    They were owned again after `took_s`; `starting` of them had no program sent yet, as
    far as was recorded.
    """

    took_s: float
    starting: int


def kill_and_watch(deployment: Deployment, victim: Command) -> Killed:
    """Kill a worker; return once all that it owned is owned again."""
    victim.kill()
    killed_ns = time.monotonic_ns()
    # What it held in the moment of its death: no row changes without its owner.
    held = held_by(deployment, victim)
    orphans = {row["id"]: row for row in held}

    def all_owned_again() -> bool:
        for now in deployment.rows(NOW, list(orphans)):
            if now["lease_id"] != orphans[now["id"]]["lease_id"]:
                _check_started_once(orphans.pop(now["id"]), now, killed_ns)
        return not orphans

    wait_until(all_owned_again, "every run owned again", timeout_s=OWNED_AGAIN_SECONDS)
    took_s = (time.monotonic_ns() - killed_ns) / 1e9
    return Killed(took_s, starting=not_started(held))


def held_by(deployment: Deployment, worker: Command) -> list[Row]:
    """Return the rows of the runs that a worker has in hand."""
    return deployment.rows(
        "SELECT id::text, lease_id, status, attempt FROM executions_execution "
        "WHERE status IN ('starting', 'running') AND lease_owner LIKE %s",
        f"%{worker.name}%",
    )


def not_started(held: list[Row]) -> int:
    return sum(row["status"] == "starting" for row in held)


# A final row has no lease at all, so a change of lease_id tells everything.
NOW = """
    SELECT id::text, lease_id, attempt, stdout FROM executions_execution
    WHERE id = ANY(%s::uuid[])
"""


def _check_started_once(before: Row, now: Row, killed_ns: int) -> None:
    if before["status"] != "running":
        return
    require(now["attempt"] == before["attempt"], "once", now)
    if now["stdout"]:
        began_ns = Accepted.started_ns(now["stdout"])
        require(began_ns < killed_ns, "once", f"{now['id']} started again")


@scenario("R1-forkserver")
def kill_the_fork_server(rng: random.Random) -> str:
    """kill -9 the jails' server: its jails die with it, every run gets another try."""
    with under_load(rng, workers=1, clients=4, longest_steps=8) as (deployment, load):
        for _ in range(2):
            time.sleep(rng.uniform(1, 3))
            for pid in deployment.forkserver_pids():
                os.kill(pid, signal.SIGKILL)
        load.stop()
        rows = check_all(
            deployment, load, attempts=lambda row: row["attempt"] in ANY_ATTEMPTS
        )
        again = sum(row["attempt"] > 1 for row in rows.values())
    return f"2 kills, {len(load.accepted)} runs, {again} of them tried again"


@scenario("R2")
def terminate_a_busy_worker(rng: random.Random) -> str:
    """SIGTERM with 20 running: gone within the grace period, nothing failed."""
    with Deployment(workers=1, concurrency=24) as deployment:
        load = Load(deployment.client(), rng, clients=20, pause_s=0.01)
        load.always_slow, load.longest_steps = True, 60
        load.start(total=40)
        running = "SELECT 1 FROM executions_execution WHERE status = 'running'"
        wait_until(lambda: len(deployment.rows(running)) >= BUSY, "20 running")
        busy = len(deployment.rows(running))
        time.sleep(rng.uniform(0, 1))
        took_s = deployment.workers[0].stop(GRACE_SECONDS)
        time.sleep(rng.uniform(0, 3))
        deployment.workers[0].start()
        load.join()
        check_all(deployment, load, attempts=lambda row: row["attempt"] in ANY_ATTEMPTS)
    return f"{busy} running, worker gone in {took_s:.1f} s, {len(load.accepted)} runs"


@scenario("R3")
def lose_the_broker(rng: random.Random) -> str:
    """Redis restarts empty, after a moment or after half a minute."""
    away_s = rng.choice((0.0, rng.uniform(1, 5), 30.0))
    with under_load(rng, workers=1) as (deployment, load):
        time.sleep(rng.uniform(1, 3))
        deployment.redis.kill()
        time.sleep(away_s)
        deployment.redis.start()
        time.sleep(rng.uniform(1, 3))
        load.stop()
        check_all(deployment, load)
        _expect_prompt_run(deployment, "after the broker's return")
    return f"away {away_s:.1f} s: {told(load)}"


@scenario("R4-down")
def lose_the_database(rng: random.Random) -> str:
    """PostgreSQL ends, gently or not, and comes back: no verdict is lost."""
    away_s = rng.choice((0.0, rng.uniform(1, 5), 30.0))
    crash = rng.random() < 0.5
    with under_load(rng, workers=1) as (deployment, load):
        time.sleep(rng.uniform(1, 3))
        if crash:
            deployment.postgres.kill()
        else:
            deployment.postgres.stop()
        time.sleep(away_s)
        deployment.postgres.start()
        time.sleep(rng.uniform(1, 3))
        load.stop()
        check_all(deployment, load, attempts=lambda row: row["attempt"] in ANY_ATTEMPTS)
    how = "crashed" if crash else "stopped"
    return f"{how} for {away_s:.1f} s: {told(load)}"


@scenario("R4-crowded")
def crowd_the_database(rng: random.Random) -> str:
    """No free connection, then every connection cut, then the table locked."""
    with under_load(rng, workers=1) as (deployment, load):
        time.sleep(rng.uniform(1, 2))
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(psycopg.OperationalError):
                for _ in range(deployment.postgres.max_connections + 1):
                    stack.enter_context(psycopg.connect(deployment.postgres.url))
            time.sleep(rng.uniform(1, 3))
        deployment.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        time.sleep(rng.uniform(0, 1))
        with psycopg.connect(deployment.postgres.url) as connection:
            connection.execute("LOCK TABLE executions_execution IN EXCLUSIVE MODE")
            time.sleep(rng.uniform(1, 4))
        time.sleep(1)
        load.stop()
        check_all(deployment, load, attempts=lambda row: row["attempt"] in ANY_ATTEMPTS)
    return told(load)


@scenario("R7")
def deliver_twice(rng: random.Random) -> str:
    """Every bell rung three times more, while the runs go on and after they ended."""
    with under_load(rng, workers=2) as (deployment, load):
        end = time.monotonic() + rng.uniform(3, 6)
        while time.monotonic() < end:
            deployment.ring(3 * len(load.accepted) + 3)
            time.sleep(rng.uniform(0, 0.5))
        load.stop()
        check_all(deployment, load)
        deployment.ring(3 * len(load.accepted))
        rows = check_all(deployment, load)
    return f"{len(rows)} runs, each bell at least four times"


STAGED = """\
import os, subprocess, time
print("began", flush=True)
subprocess.run(["sleep", "30.{nonce}"])
"""


@scenario("R13")
def race_cancel(rng: random.Random) -> str:
    """Cancel at every stage, 200 times: one final status, and dead within a second."""
    ends: dict[str, int] = {}
    with Deployment(workers=1) as deployment:
        client = deployment.client()
        slowest = 0.0
        for _ in range(25):
            batch = [
                threading.Thread(
                    target=_cancel_one, args=(client, random.Random(rng.random()), ends)
                )
                for _ in range(8)
            ]
            for thread in batch:
                thread.start()
            for thread in batch:
                thread.join()
        rows = settle(deployment, 30)
        check_unchanged(deployment, rows)
        for row in rows.values():
            both = row["status"] == "cancelled" and row["verdict"] is not None
            require(not both, "R13", f"cancelled with a verdict: {row}")
        slowest = _cancel_sleeper(deployment)
        check_nothing_left(deployment)
    return f"{sum(ends.values())} cancels: {ends}; a sleeper died in {slowest:.2f} s"


def _cancel_one(client: Any, rng: random.Random, ends: dict[str, int]) -> None:
    """Submit a short program and cancel it after a moment of up to 60 ms."""
    answer = client.submit(runtime="python", source=f"print({rng.random()})")
    require(answer.status == 201, "I5", answer)
    time.sleep(rng.choice((0, rng.uniform(0, 0.02), rng.uniform(0, 0.06))))
    path = f"/api/v1/executions/{answer.body['id']}"
    cancelled = client.request("POST", f"{path}/cancel", {})
    require(cancelled.status in (200, 202, 409), "R13", cancelled)
    final = client.request("GET", f"{path}?wait=20").body
    require(final["status"] in ("finished", "cancelled"), "I1", final)
    ends[final["status"]] = ends.get(final["status"], 0) + 1


def _cancel_sleeper(deployment: Deployment) -> float:
    """Cancel a program that is surely running; return the seconds until it is dead."""
    client = deployment.client()
    nonce = str(secrets.randbelow(10**15)).zfill(15)
    answer = client.submit(runtime="python", source=STAGED.format(nonce=nonce))
    wait_until(lambda: bool(processes_naming(f"30.{nonce}")), "the sleeper runs")
    began = time.monotonic()
    client.request("POST", f"/api/v1/executions/{answer.body['id']}/cancel", {})
    wait_until(
        lambda: not processes_naming(f"30.{nonce}"), "the sleeper dies", timeout_s=1
    )
    took_s = time.monotonic() - began
    final = client.request(
        "GET", f"/api/v1/executions/{answer.body['id']}?wait=10"
    ).body
    require(final["status"] == "cancelled", "R13", final)
    require(final["run"]["stdout"] == "began\n", "R13", "the output so far is lost")
    return took_s


@scenario("R14")
def repeat_a_submit(rng: random.Random) -> str:
    """The same POST 50 times at once, and again after a lost answer: one run."""
    with Deployment(workers=1, web_processes=2) as deployment:
        client = deployment.client()
        key = {"Idempotency-Key": secrets.token_hex(16)}
        body = {"runtime": "python", "source": f"print({rng.random()})"}
        answers = _in_parallel(
            50, lambda: client.request("POST", "/api/v1/executions", body, key)
        )
        require(
            {a.status for a in answers} <= {201, 409, 503},
            "R14",
            [a.status for a in answers],
        )
        again = [
            client.request("POST", "/api/v1/executions", body, key) for _ in range(2)
        ]
        ids = {a.body["id"] for a in (*answers, *again) if a.status == 201}
        require(len(ids) == 1, "R14", ids)
        require(len(all_rows(deployment)) == 1, "R14", "more than one row")
        other = client.request(
            "POST", "/api/v1/executions", {**body, "source": "print(2)"}, key
        )
        require(other.status in (409, 422), "R14", other)
        _lose_the_answer(deployment, rng)
        settle(deployment, 30)
        check_nothing_left(deployment)
    return f"50 at once: {sum(a.status == 201 for a in answers)} got the one id"


def _in_parallel(count: int, action: Callable[[], Any]) -> list[Any]:
    answers: list[Any] = []
    gate = threading.Barrier(count)

    def one() -> None:
        gate.wait()
        answers.append(action())

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _lose_the_answer(deployment: Deployment, rng: random.Random) -> None:
    """Hang up in the middle of a submit; the same key then gives the one run."""
    key = secrets.token_hex(16)
    body = f'{{"runtime": "python", "source": "print({rng.random()})"}}'
    before = len(all_rows(deployment))
    with socket.create_connection(("127.0.0.1", deployment.port)) as connection:
        connection.sendall(
            (
                "POST /api/v1/executions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Authorization: Bearer {deployment.key}\r\n"
                f"Idempotency-Key: {key}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode()
        )
        time.sleep(rng.uniform(0, 0.02))
    connection_retry = http.client.HTTPConnection("127.0.0.1", deployment.port)
    headers = {
        "Authorization": f"Bearer {deployment.key}",
        "Idempotency-Key": key,
        "Content-Type": "application/json",
    }
    connection_retry.request("POST", "/api/v1/executions", body, headers)
    require(connection_retry.getresponse().status == 201, "R14", "the repeat failed")
    require(len(all_rows(deployment)) == before + 1, "R14", "two rows for one key")


@scenario("R18")
def start_in_any_order(rng: random.Random) -> str:
    """Web, worker and scheduler come up before the database and the broker."""
    with Deployment(workers=0) as deployment:
        deployment.web.stop()
        deployment.scheduler.stop()
        deployment.redis.stop()
        deployment.postgres.stop()
        worker = deployment.add_worker("early")
        early = [deployment.web, worker, deployment.scheduler]
        rng.shuffle(early)
        for server in early:
            server.start(wait=False)
        wait_until(deployment.web.is_ready, "web listens")
        time.sleep(rng.uniform(2, 5))
        client = deployment.client()
        require(client.request("GET", "/api/health/").status == 200, "R18", "health")
        require(client.request("GET", "/api/ready/").status == 503, "R18", "ready")
        refused = client.submit(runtime="python", source="print(1)")
        require(refused.status == 503, "R18", refused)
        for server in early:
            require(
                b"Traceback" not in server.log_path.read_bytes() or server.is_running,
                "R18",
                f"{server.name}: {server.log_tail()}",
            )
        late = [deployment.postgres, deployment.redis]
        rng.shuffle(late)
        for part in late:
            part.start()
            time.sleep(rng.uniform(0, 2))
        for server in early:
            if not server.is_running:
                server.start(wait=False)
        _expect_prompt_run(deployment, "after a late database", patience_s=30)
    return f"{', '.join(s.name for s in early)} first"


@scenario("R19")
def run_a_poison(rng: random.Random) -> str:
    """A run whose worker and sandbox die each time: three attempts, then an end."""
    with Deployment(workers=2) as deployment:
        client = deployment.client()
        poison = client.submit(
            runtime="python", source="import time; print(1, flush=True); time.sleep(9)"
        ).body["id"]
        deaths = _kill_whenever_running(deployment, poison, rng)
        rows = settle(deployment, 60)
        row = rows[poison]
        require(row["verdict"] == "system_error", "R19", row)
        require(row["attempt"] == 3, "R19", row)
        require(bool(row["reason"]), "R19", "no reason")
        _expect_prompt_run(deployment, "after the poison", patience_s=20)
        check_nothing_left(deployment)
    return f"{deaths} deaths, then: {row['reason']}"


def _kill_whenever_running(
    deployment: Deployment, execution_id: str, rng: random.Random
) -> int:
    deaths = 0
    end = time.monotonic() + 120
    while time.monotonic() < end:
        row = all_rows(deployment)[execution_id]
        if row["status"] in ("finished", "cancelled"):
            return deaths
        if row["status"] == "running" and deaths < row["attempt"]:
            time.sleep(rng.uniform(0, 1))
            for pid in deployment.forkserver_pids():
                os.kill(pid, signal.SIGKILL)
            owners = [w for w in deployment.workers if w.name in row["lease_owner"]]
            for owner in owners:
                owner.kill()
                owner.start()
            deaths += 1
        time.sleep(0.05)
    raise Violation(f"R19: {execution_id} never ended")


def _expect_prompt_run(
    deployment: Deployment, when: str, patience_s: float = 15
) -> None:
    """A fresh program runs, which proves that the service recovered by itself."""
    client = deployment.client()
    end = time.monotonic() + patience_s
    while True:
        answer = client.submit(runtime="python", source="print(42)", wait_s=10)
        if answer.status == 201 and answer.body["status"] == "finished":
            require(answer.body["run"]["stdout"] == "42\n", "recovery", answer.body)
            return
        require(time.monotonic() < end, "recovery", f"{when}: {answer}")
        time.sleep(0.2)
