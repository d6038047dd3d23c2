"""Programs that attack their pod while others run: right verdicts, and nothing else."""

from __future__ import annotations

import random
import secrets
from pathlib import Path
from typing import Final

from executions.limits import MIB
from executions.tests.faults.invariants import require
from executions.tests.faults.scenarios import held_by, not_started
from executions.tests.kubernetes.deployments import Faulty, pause, scenario
from testing.deployment import Row

PROGRAMS: Final = Path(__file__).with_name("hostile")
POD_BYTES: Final = 256 * MIB
# However slow a node is that others attack, too, it is the memory that ends these.
ROOMY: Final = {
    "memory_bytes": POD_BYTES,
    "wall_time_ms": 60_000,
    "cpu_time_ms": 30_000,
}

EAT = """
import os, time
print("began {nonce}", flush=True)
for _ in range({children}):
    if os.fork() == 0:
        break
kept = []
while True:
    kept.append(bytearray({step}))
    time.sleep({pause_s})
"""
BOMB = """
import os, threading
print("began {nonce}", flush=True)
def forks():
    while True:
        try:
            os.fork()
        except OSError:
            pass
threads = [threading.Thread(target=forks) for _ in range({threads})]
for thread in threads: thread.start()
"""
FLOOD = """
import os
print("began {nonce}", flush=True)
for _ in range({children}):
    os.fork()
while True:
    os.write({stream}, b"{nonce}" * {length})
"""


def ends_as(faulty: Faulty, run: str, verdict: str, nonce: str) -> Row:
    """Return the row of a hostile run once it has this verdict, at its first try."""
    row = faulty.ended(run)
    require(
        (row["status"], row["verdict"]) == ("finished", verdict),
        "I4",
        f"{run} ended {row['status']}/{row['verdict']}: {row['reason']}",
    )
    require(row["stdout"].startswith(f"began {nonce}\n".encode()), "I1", row["stdout"])
    return row


def kill_owner(faulty: Faulty, run: str) -> int:
    """kill -9 the worker that follows a run; return how many others had not started."""
    owner = str(faulty.row(run)["lease_owner"])
    starting = 0
    for worker in faulty.deployment.workers:
        if worker.name in owner:
            worker.kill()
            starting += not_started(held_by(faulty.deployment, worker))
            worker.start()
    return starting


@scenario("oom-child")
def exhaust_memory(faulty: Faulty, rng: random.Random) -> str:
    """The kernel kills the program, or its children, for the pod's memory."""
    pause(rng, 0, 3)
    nonce = secrets.token_hex(8)
    source = EAT.format(
        nonce=nonce,
        children=rng.choice((0, 0, 3)),
        step=rng.choice((1, 4, 16, 64)) * MIB,
        pause_s=rng.choice((0, 0.001)),
    )
    run = faulty.submit(source, limits=ROOMY)
    row = ends_as(faulty, run, "memory_limit", nonce)
    return f"{row['reason']}, {faulty.check()}"


@scenario("oom-init")
def exhaust_memory_of_init(faulty: Faulty, rng: random.Random) -> str:
    """The kernel kills PID 1 of the pod, as all others are smaller."""
    pause(rng, 0, 3)
    nonce = secrets.token_hex(8)
    share = rng.choice((4, 5, 6))
    run = faulty.submit(
        (PROGRAMS / "kill_agent_by_memory.py").read_text(),
        args=[nonce, str(share), "60"],
        limits={**ROOMY, "max_processes": 64},
    )
    row = ends_as(faulty, run, "memory_limit", nonce)
    # What is said only of a pod whose agent is gone.
    require("the pod was out of memory" in row["reason"], "oom-init", row["reason"])
    return faulty.check()


@scenario("fork-bomb")
def fork_for_ever(faulty: Faulty, rng: random.Random) -> str:
    """Neither the node nor the other programs notice."""
    pause(rng, 0, 3)
    nonce = secrets.token_hex(8)
    source = BOMB.format(nonce=nonce, threads=rng.choice((1, 2, 8)))
    limits = {"cpu_time_ms": 3_000, "wall_time_ms": 8_000}
    run = faulty.submit(source, limits=limits)
    row = ends_as(faulty, run, "time_limit", nonce)
    return f"{row['reason']}, {faulty.check()}"


@scenario("output-flood")
def flood(faulty: Faulty, rng: random.Random) -> str:
    """More output than is kept, as fast as it goes, from one process or several."""
    pause(rng, 0, 3)
    nonce = secrets.token_hex(8)
    source = FLOOD.format(
        nonce=nonce,
        children=rng.choice((0, 0, 3)),
        stream=rng.choice((1, 2)),
        length=rng.choice((1, 64, 65536)),
    )
    limits = {"output_bytes": rng.choice((1_000, MIB)), "wall_time_ms": 60_000}
    limits["cpu_time_ms"] = 30_000
    run = faulty.submit(source, limits=limits)
    row = ends_as(faulty, run, "output_limit", nonce)
    require(len(row["stdout"]) <= limits["output_bytes"], "I4", len(row["stdout"]))
    return f"{row['reason']}, {faulty.check()}"


@scenario("agent-attack")
def attack_the_agent(faulty: Faulty, rng: random.Random) -> str:
    """All that a program can do to PID 1 and its port, also while its owner dies."""
    pause(rng, 0, 3)
    nonce = secrets.token_hex(8)
    run = faulty.submit(
        (PROGRAMS / "attack_agent.py").read_text(),
        args=[nonce, str(rng.randint(5, 15)), str(rng.random())],
        limits={"cpu_time_ms": 30_000, "wall_time_ms": 60_000},
    )
    faulty.pod_of(run)
    is_killed = rng.random() < 1 / 2
    starting = 0
    if is_killed:
        pause(rng, 0, 4)
        starting = kill_owner(faulty, run)
    row = ends_as(faulty, run, "ok", nonce)
    require(row["attempt"] == 1, "once", row)
    require(
        row["stdout"].endswith(f"achieved []\nended {nonce}\n".encode()),
        "agent-attack",
        row["stdout"],
    )
    return f"owner killed: {is_killed}, {faulty.check(failures=starting)}"
