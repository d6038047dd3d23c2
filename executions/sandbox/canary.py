"""Proves from inside a pod that pods are as closed as they have to be.

Two pods are made as those for programs are. In one runs canary_probe.py, as a program;
the other is what it tries to reach. Nothing here decides what follows from the result.
"""

from __future__ import annotations

import json
import secrets
import signal
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from executions.limits import MIB, Limits
from executions.sandbox import manifests, pods
from executions.sandbox.base import (
    Command,
    End,
    Finished,
    RunSpec,
    SandboxError,
    SourceFile,
    StageOutcome,
)
from executions.sandbox.manifests import AGENT_PORT

if TYPE_CHECKING:
    from executions.sandbox.kubernetes import KubernetesBackend

PROBE: Final = Path(__file__).with_name("canary_probe.py")
MEMORY: Final = "memory_limit"
WARNINGS: Final = frozenset({"node"})
"""Checks that fail on sound clusters, too: a pod may always speak to its own node."""
CHECKS: Final = {
    "api_server": "the API server cannot be reached",
    "cluster_dns": "the cluster's name servers cannot be reached",
    "metadata": "no service that tells machines who they are can be reached",
    "other_pods": "other pods cannot be reached",
    "node": "the node cannot be reached",
    "service_account_token": "there is no token",
    "root_user": "nothing runs as root or in its group",
    "capabilities": "there are no capabilities, and none can be gained",
    "seccomp": "system calls are filtered",
    "read_only_root": "the image cannot be written to",
    "process_limit": "the process limit bites",
    "disk_limit": "the size of the scratch volume bites",
    MEMORY: "the memory limit bites",
}
"""What a pod proves; each name is one that SANDBOX_CANARY_OVERRIDE may have."""
PREFIX: Final = "canary-"
_PROCESSES: Final = 32
_WALL_MS: Final = 20_000
DEADLINE_S: Final = 180
"""How old a pod of a canary becomes at most."""


class CanaryError(Exception):
    """The canary said nothing, or nothing that can be understood: no proof at all."""


@dataclass(frozen=True, slots=True)
class Check:
    """Whether one thing is as it has to be, and what was found."""

    is_ok: bool
    found: str


Report = Mapping[str, Check]
"""For each of CHECKS what was found."""


def look(backend: KubernetesBackend, dns: Sequence[str] = ()) -> Report:
    """Make two pods, and return what a program found in one of them.

    `dns` are name servers that the cluster is known to have. Raises CanaryError, and
    SandboxError when there is no pod to be had.
    """
    names = [f"{PREFIX}{secrets.token_hex(6)}" for _ in range(2)]
    try:
        with ThreadPoolExecutor(len(names)) as threads:
            opened = [threads.submit(_open, backend, name) for name in names]
        # The second listens: we are connected to it.
        with closing(opened[1].result()) as neighbour:
            address: str = neighbour.getpeername()[0]
            report = _examined(backend, opened[0].result(), names[0], address, dns)
        try:
            # It could have been reached all the time.
            backend.greet(names[1], address)
        except (OSError, SandboxError) as error:
            raise CanaryError(f"the pod to be reached was gone: {error}") from error
        return report
    finally:
        for name in names:
            backend.end(name)


def _open(backend: KubernetesBackend, name: str) -> socket.socket:
    pod = manifests.pod(
        name,
        backend.smallest(),
        backend.cluster,
        token=backend.token(name),
        deadline_s=DEADLINE_S,
        is_canary=True,
    )
    return backend.open(pod)


def _examined(
    backend: KubernetesBackend,
    sock: socket.socket,
    name: str,
    neighbour: str,
    dns: Sequence[str],
) -> Report:
    profile = backend.smallest()
    seen = backend.watch.get(name)
    given = {
        "dns": list(dns),
        "nodes": pods.node_addresses(seen.pod) if seen else [],
        "pods": [(neighbour, AGENT_PORT)],
        "processes": _PROCESSES,
        "scratch_bytes": profile.scratch_bytes,
        "memory_bytes": profile.memory_bytes,
    }
    limits = Limits(
        cpu_time_ms=_WALL_MS,
        wall_time_ms=_WALL_MS,
        # So that only the pod's own limit can end it.
        memory_bytes=profile.memory_bytes + 512 * MIB,
        max_processes=_PROCESSES,
        file_bytes=profile.scratch_bytes + 64 * MIB,
        scratch_bytes=profile.scratch_bytes,
    )
    command = Command(("python3", "main.py", json.dumps(given)), limits)
    source = SourceFile("main.py", PROBE.read_bytes())
    session = backend.run_in(sock, name, RunSpec(name, (source,), command), profile)
    for event in session.events():
        if isinstance(event, Finished):
            (stage,) = event.outcome.cases
            return {**_read(stage), MEMORY: _memory(stage)}
    raise CanaryError("it did not end")


def _memory(stage: StageOutcome) -> Check:
    """Return whether the program, which was to die of its last act, did so."""
    if stage.end is End.EXITED:
        return Check(False, f"more was used than the pod has ({stage.exit_code})")
    if stage.end is End.MEMORY or stage.signal == signal.SIGKILL:
        return Check(True, f"ended by {stage.end}")
    # On a busy node, before it had tried.
    raise CanaryError(f"it was ended by {stage.end} {stage.message}".strip())


def _read(stage: StageOutcome) -> dict[str, Check]:
    output = stage.stdout.head + stage.stdout.tail
    told = stage.stderr.head.decode(errors="replace")
    try:
        found = json.loads(output)
        checks = {
            name: Check(bool(ok), str(text)) for name, (ok, text) in found.items()
        }
    except (ValueError, AttributeError, TypeError) as error:
        raise CanaryError(f"it told nothing that can be read: {told[-300:]}") from error
    if missing := CHECKS.keys() - checks.keys() - {MEMORY}:
        raise CanaryError(f"it told nothing of {', '.join(sorted(missing))}")
    return {name: check for name, check in checks.items() if name in CHECKS}
