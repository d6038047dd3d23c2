"""The agent as PID 1 of a sandbox pod, which others confine.

Standard library only. The image has links from the usual writable folders into one
memory-backed volume. What the pod's own limits do not cover is the agent's part: an
execution's limits below those of its profile are looked after by sampling.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, NoReturn

from executions import runtimes
from executions.limits import Limits
from executions.runtimes import build
from executions.sandbox import agent, cgroups, linux, seccomp
from executions.sandbox.manifests import AGENT_PORT, SCRATCH

# Behind each link in the image, its folder in the volume.
WRITABLE: Final = {
    "/box": "box",
    "/tmp": "tmp",  # noqa: S108 - the pod's own
    "/var/tmp": "var_tmp",  # noqa: S108
    "/home/runner": "home",
}
ENVIRONMENT: Final = {
    "PATH": build.SEARCH_PATH,
    "HOME": "/home/runner",
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",  # noqa: S108
}
# A network that lets us through answers within a few milliseconds: the kernel does.
_SILENCE_S: Final = 0.03
_RETRY_S: Final = 0.005
_IDLE_S: Final = 3600.0


class PodConfinement:
    """An agent.Confinement that can read the container's cgroup, but not make others.

    Usage counts from what there was when the agent was ready, without it.
    """

    samples_memory = True

    def __init__(self) -> None:
        self._version, self._files = _usage_files()
        self._base_bytes = 0
        self._peak_bytes = 0
        self._top_bytes = 0
        self._stage = -1
        if (used := self._read()) is not None:
            self._base_bytes = used.memory_bytes
            self._top_bytes = used.memory_peak_bytes

    def place(self, stage: int) -> None:
        return

    def within(self, stage: int) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def usage(self, stage: int) -> agent.Usage | None:
        used = self._read()
        if used is None:
            return None
        if stage != self._stage:
            self._stage, self._peak_bytes = stage, 0
        now = max(0, used.memory_bytes - self._base_bytes)
        self._peak_bytes = max(self._peak_bytes, now)
        if used.memory_peak_bytes > self._top_bytes:
            # The container's own record was broken, which no sample has to have seen.
            self._top_bytes = used.memory_peak_bytes
            self._peak_bytes = max(self._peak_bytes, self._top_bytes - self._base_bytes)
        return used._replace(memory_bytes=now, memory_peak_bytes=self._peak_bytes)

    def _read(self) -> agent.Usage | None:
        if not self._files:
            return None
        return cgroups.read_usage(self._version, self._files)

    def shrink_scratch(self, size_bytes: int) -> None:
        """The volume has the profile's size; a smaller one cannot be set from here."""


def _usage_files() -> tuple[int, list[int]]:
    try:
        return cgroups.own_usage_files(Path("/proc/self/mountinfo").read_text())
    except (OSError, LookupError):
        return 0, []


def is_reachable(host: str, port: int, silence_s: float = _SILENCE_S) -> bool:
    """Whether a connection is accepted within `silence_s`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as tried, selectors.DefaultSelector() as selector:
        tried.setblocking(False)
        with contextlib.suppress(OSError):
            tried.connect_ex((host, port))
            selector.register(tried, selectors.EVENT_WRITE)
            return bool(selector.select(silence_s)) and not tried.getsockopt(
                socket.SOL_SOCKET, socket.SO_ERROR
            )
    return False


def wait_for_isolation() -> None:
    """Return once the API server's address cannot be reached, as no address may be.

    Network plugins enforce a policy some time after a pod has its address.
    """
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = int(os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
    while host and is_reachable(host, port):
        time.sleep(_RETRY_S)


def _make_folders() -> None:
    for folder in WRITABLE.values():
        Path(SCRATCH, folder).mkdir(mode=0o700, exist_ok=True)


def _warm(name: str) -> agent.Warm | None:
    runtime = runtimes.get(name) if name else None
    if runtime is None or runtime.prestart is None:
        return None
    (filled,) = (p for p in build.prestarts(Limits()) if p.key == runtime.prestart.key)
    return agent.Warm(filled.key, filled.argv, filled.command, filled.env, filled.files)


def _listen() -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", AGENT_PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=16
        )
    return socket.create_server(("", AGENT_PORT), backlog=16)


def main() -> NoReturn:
    """Be PID 1 of a pod, configured by the variables that manifests.py sets."""
    token = os.environ.pop("SANDBOX_TOKEN", "")
    if not token:
        sys.exit("SANDBOX_TOKEN is not set: nobody could be told from a stranger")
    # Before anything can run here that might read /proc/1/environ.
    linux.set_dumpable(False)
    linux.no_new_privileges()
    os.umask(0o022)
    _make_folders()
    warm = _warm(os.environ.get("SANDBOX_PRESTART", ""))
    wait_for_isolation()
    linux.Filter(seccomp.FILTER).install()
    place = agent.Place(
        scratch=f"{SCRATCH}/box",
        env=ENVIRONMENT,
        writable=tuple(f"{SCRATCH}/{part}" for part in WRITABLE.values()),
        counts_processes=False,
    )
    agent.serve(
        agent.Listener(_listen()),
        PodConfinement(),
        place,
        warm=warm,
        bounds=agent.Bounds(idle_s=_IDLE_S),
        token=token,
    )
