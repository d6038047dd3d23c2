"""A node that falls silent, and its network: only where it is this machine."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from executions.sandbox.manifests import AGENT_PORT
from executions.tests.faults.invariants import Violation, require
from executions.tests.kubernetes.deployments import Faulty, pause, scenario
from testing.servers import wait_until

# Does, waits and undoes it whatever becomes of this process.
GUARD = 'trap "" INT TERM HUP; {do} && sleep {seconds:.3f}; {undo}'


def kubelet() -> int:
    """Return the pid of this machine's kubelet."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if words[0].rpartition(b"/")[2] == b"kubelet":
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                    parents[int(folder.name)] = int(fields[1])
    # A child that it has just forked looks as it does.
    found = [pid for pid, parent in parents.items() if parent not in parents]
    if len(found) != 1:
        raise Violation(f"this scenario needs one kubelet on this machine: {found}")
    return found[0]


@contextlib.contextmanager
def for_a_while(do: str, undo: str, seconds: float) -> Iterator[None]:
    """Do something that is undone after so long, and after the block, in any case."""
    words = ["sh", "-c", GUARD.format(do=do, seconds=seconds, undo=undo)]
    with subprocess.Popen(words, start_new_session=True) as guard:
        try:
            yield
        finally:
            status = guard.wait()
    require(status == 0, "undone", f"{undo}: {status}")


def silence(seconds: float) -> contextlib.AbstractContextManager[None]:
    pid = kubelet()
    return for_a_while(f"kill -STOP {pid}", f"kill -CONT {pid}", seconds)


@scenario("node-silent")
def silence_the_node(faulty: Faulty, rng: random.Random) -> str:
    """The kubelet stops for some seconds: what waits is used, the rest waits."""
    pause(rng, 0.5, 3)
    with silence(rng.uniform(5, 20)):
        pass
    return faulty.check()


@scenario("node-lost", is_alone=True)
def lose_the_node(faulty: Faulty, rng: random.Random) -> str:
    """The kubelet stops until the node is taken for lost, and its pods for deleted.

    Programs run on all the while. Those that still do when the node is back, which then
    ends their pods, get another attempt.
    """
    pause(rng, 0.5, 3)
    lost_s = rng.uniform(75, 120)
    with silence(lost_s):
        time.sleep(lost_s / 2)
        wait_until(
            lambda: any(p.metadata.deletion_timestamp for p in faulty.pods()),
            "pods are taken away",
            timeout_s=lost_s,
        )
    told = faulty.check(failures=len(faulty.load.accepted))
    return f"lost for {lost_s:.0f} s, {told}"


@scenario("agent-stall")
def stall_a_connection(faulty: Faulty, rng: random.Random) -> str:
    """Nothing comes from a pod any more, and nothing ends: followed again later."""
    pause(rng, 0.5, 4)
    name = rng.choice(faulty.wait_busy())
    pod = faulty.pod(name)
    if pod is None or not pod.status.pod_ip:
        return f"{name} was done, {faulty.check()}"
    rule = f"-d {pod.status.pod_ip} -p tcp --dport {AGENT_PORT} -j DROP"
    with for_a_while(
        f"iptables -w -I OUTPUT {rule}",
        f"iptables -w -D OUTPUT {rule}",
        rng.uniform(5, 40),
    ):
        pass
    return faulty.check()
