"""python -m bench.inflight: what a worker costs while many programs sleep in pods.

One worker process follows all of them, each in a pod made for it, which a setting makes
small so that they fit on one node. Its memory is compared with what it had after its
first run, its CPU is counted while all are asleep. Needs KUBECONFIG.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from executions.limits import MIB
from testing.deployment import Deployment
from testing.servers import wait_until

SLEEP_S = 240
STARTED_S = 200.0
COUNTED_S = 20.0
ASLEEP = "SELECT count(*) AS n FROM executions_execution WHERE status = 'running'"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SMALL = {
    "memory_bytes": 64 * MIB,
    "scratch_bytes": 8 * MIB,
    "cpu_request": "1m",
    "cpu_limit": "1",
}


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process; see proc_pid_status(5)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no memory")


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process; see proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def measure(deployment: Deployment, count: int) -> dict[str, float]:
    client = deployment.client()
    limits = {"memory_bytes": 48 * MIB, "scratch_bytes": 8 * MIB, "file_bytes": 8 * MIB}
    sleeping: dict[str, Any] = {
        "runtime": "python",
        "source": f"import time; time.sleep({SLEEP_S})",
        "limits": limits | {"wall_time_ms": 1000 * (SLEEP_S + 60)},
    }
    first = client.submit(wait_s=60, runtime="python", source="print(1)", limits=limits)
    if first.body["verdict"] != "ok":
        raise AssertionError(f"the first run failed: {first.body}")
    (worker,) = deployment.workers
    time.sleep(3)
    idle = rss_mib(worker.pid)
    ids = [client.submit(**sleeping).body["id"] for _ in range(count)]
    wait_until(
        lambda: deployment.rows(ASLEEP)[0]["n"] == count,
        f"{count} programs running",
        timeout_s=STARTED_S,
    )
    time.sleep(5)
    began, used = time.monotonic(), cpu_s(worker.pid)
    time.sleep(COUNTED_S)
    share = (cpu_s(worker.pid) - used) / (time.monotonic() - began)
    busy = rss_mib(worker.pid)
    if deployment.rows(ASLEEP)[0]["n"] != count:
        raise AssertionError("not all of them slept meanwhile")
    for each in ids:
        client.request("POST", f"/api/v1/executions/{each}/cancel")
    return {
        "in flight": count,
        "idle RSS, MiB": idle,
        "RSS with all, MiB": busy,
        "above idle, MiB": busy - idle,
        "of a core, %": 100 * share,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", default="coding-platform-sandboxes")
    parser.add_argument("--image", default=os.environ.get("SANDBOX_IMAGE", ""))
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    settings = {
        "LOG_LEVEL": "WARNING",
        "SANDBOX_BACKEND": "kubernetes",
        "SANDBOX_NAMESPACE": options.namespace,
        "SANDBOX_IMAGE": options.image,
        "SANDBOX_PROFILES": json.dumps({"small": SMALL}),
        "RUN_MAX_WALL_TIME_MS": str(1000 * (SLEEP_S + 60)),
        "RUN_DEFAULT_SCRATCH_BYTES": str(8 * MIB),
    }
    with Deployment(concurrency=options.count, settings=settings) as deployment:
        for name, number in measure(deployment, options.count).items():
            print(f"{name:20} {number:8.1f}")


if __name__ == "__main__":
    main()
