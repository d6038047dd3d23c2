"""What a machine holds: processes, mounts, cgroups, sockets, files, locks, IPC.

Compared before and after a round. Other software lives on the machine too, so what
appeared meanwhile counts only where it can be traced to the platform: by its state
folder, its uids, its cgroups, its ancestors, or a name that the programs used.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

CGROUP_MARK = "coding-platform"
FIRST_JAIL_UID = 2_000_000_000
SHARED_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/dev/mqueue")  # noqa: S108


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    uid: int
    name: str
    command: str
    cgroups: str
    namespaces: str

    def __str__(self) -> str:
        return f"process {self.pid} {self.name} uid {self.uid} {self.command[:80]}"


@dataclass(frozen=True, slots=True)
class Scan:
    """A picture of the machine; each part maps or lists what was there."""

    processes: dict[int, Process] = field(default_factory=dict)
    mounts: frozenset[str] = frozenset()
    cgroups: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    ipc: frozenset[str] = frozenset()
    locks: frozenset[str] = frozenset()
    free_bytes: int = 0
    free_inodes: int = 0


def scan(state: Path | None = None) -> Scan:
    """Take a picture; `state` is the platform's own folder, if it is known."""
    disk = os.statvfs("/")
    return Scan(
        processes={process.pid: process for process in _processes()},
        mounts=frozenset(Path("/proc/self/mountinfo").read_text().splitlines()),
        cgroups=frozenset(_cgroups()),
        files=frozenset(_files(state)),
        ipc=frozenset(_ipc()),
        locks=frozenset(_locks()),
        free_bytes=disk.f_bavail * disk.f_frsize,
        free_inodes=disk.f_favail,
    )


def processes_naming(text: str) -> list[str]:
    """Return the live processes that carry `text` in arguments, name or environment."""
    return [str(one) for one in _processes() if _carries(one, text.encode())]


def _carries(process: Process, text: bytes) -> bool:
    if process.pid == os.getpid():
        return False
    for name in ("cmdline", "comm", "environ"):
        with contextlib.suppress(OSError):
            if text in Path(f"/proc/{process.pid}/{name}").read_bytes():
                return True
    return False


def _processes() -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # A process may end while it is read.
            with contextlib.suppress(OSError, ValueError, IndexError):
                yield _process(entry)


def _process(entry: Path) -> Process:
    # The name may hold blanks and brackets: what follows counts from the last one.
    name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
    return Process(
        pid=int(entry.name),
        parent=int(rest.split()[1]),
        uid=entry.stat().st_uid,
        name=name,
        command=(entry / "cmdline")
        .read_bytes()
        .replace(b"\0", b" ")
        .decode("utf-8", "replace"),
        cgroups=(entry / "cgroup").read_text(),
        namespaces=_link(entry / "ns/mnt"),
    )


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _cgroups() -> Iterator[str]:
    for folder, names, _ in os.walk("/sys/fs/cgroup"):
        for name in names:
            if CGROUP_MARK in f"{folder}/{name}":
                yield f"{folder}/{name}"


def _files(state: Path | None) -> Iterator[str]:
    for folder in SHARED_FOLDERS:
        with contextlib.suppress(OSError):
            for path in Path(folder).iterdir():
                yield _described(str(path))
    if state is not None:
        for folder, names, files in os.walk(state):
            for name in (*names, *files):
                yield _described(f"{folder}/{name}")


def _described(path: str) -> str:
    with contextlib.suppress(OSError):
        return f"{path} uid {os.lstat(path).st_uid}"
    return path


def _ipc() -> Iterator[str]:
    for kind, owner in (("shm", 7), ("msg", 7), ("sem", 4)):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()
            for fields in (line.split() for line in lines[1:]):
                # The counters in the other columns change all the time.
                yield f"{kind} key {fields[0]} id {fields[1]} uid {fields[owner]}"


def _locks() -> Iterator[str]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            yield " ".join(line.split()[1:])


@dataclass(frozen=True, slots=True)
class Ours:
    """How to tell what is the platform's: its state folder and its server's pid."""

    state: Path | None = None
    server_pid: int | None = None
    nonce: str = ""

    def processes(self, seen: Scan) -> list[Process]:
        """Return the server's descendants, the jails, and what carries our names."""
        return [one for one in seen.processes.values() if self._is_ours(one, seen)]

    def _is_ours(self, process: Process, seen: Scan) -> bool:
        if process.pid == os.getpid():
            return False
        if self.nonce and self.nonce in process.command:
            return True
        if self.state and (
            str(self.state) in process.command
            or own_cgroup(self.state) in process.cgroups
        ):
            return True
        return self.server_pid is not None and self._descends(process, seen)

    def _descends(self, process: Process, seen: Scan) -> bool:
        pid = process.pid
        while pid > 1:
            if pid == self.server_pid:
                return True
            parent = seen.processes.get(pid)
            pid = parent.parent if parent else 0
        return False


@dataclass(frozen=True, slots=True)
class Footprint:
    """How much of everything the platform holds while it is idle."""

    processes: int
    cgroups: int
    files: int
    mount_namespaces: int
    ipc: frozenset[str]

    def compared_with(self, later: Footprint) -> list[str]:
        """Return in what `later` is more: single-use jails have new names each time."""
        found = [
            f"{name}: {getattr(later, name)} instead of {getattr(self, name)}"
            for name in ("processes", "cgroups", "files", "mount_namespaces")
            if getattr(later, name) > getattr(self, name)
        ]
        return found + sorted(later.ipc - self.ipc)


def footprint(ours: Ours) -> Footprint:
    assert ours.state is not None
    seen = scan(ours.state)
    processes = ours.processes(seen)
    mark = own_cgroup(ours.state)
    return Footprint(
        processes=len(processes),
        cgroups=sum(mark in path for path in seen.cgroups),
        files=sum(str(ours.state) in path for path in seen.files),
        mount_namespaces=len({process.namespaces for process in processes}),
        ipc=frozenset(line for line in seen.ipc if _has_jail_uid(line)),
    )


def settled(ours: Ours, *, timeout_s: float = 30.0, quiet_s: float = 2.0) -> Footprint:
    """Wait until nothing changes any more (the pool is full again) and measure."""
    give_up = time.monotonic() + timeout_s
    last, since = footprint(ours), time.monotonic()
    while time.monotonic() < give_up and time.monotonic() - since < quiet_s:
        time.sleep(0.2)
        now = footprint(ours)
        if now != last:
            last, since = now, time.monotonic()
    return last


def memory_victims(state: Path) -> list[int]:
    """Return the uids of all whom the kernel killed for a sandbox's memory.

    Reads the kernel's log, which is for root; then every sandbox has its own uid.
    """
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    mark = re.compile(rf"oom_memcg=\S*{re.escape(own_cgroup(state))}.*\buid=(\d+)")
    return [int(found[1]) for found in mark.finditer(log)]


def own_cgroup(state: Path) -> str:
    """Return what the names of an installation's cgroups begin with."""
    from executions.sandbox import forkserver  # noqa: PLC0415 - nothing else needs it

    return forkserver.cgroup_name(state, "")


def left_overs(before: Scan, after: Scan, ours: Ours) -> list[str]:
    """Return what is there now, was not before, and is the platform's."""
    found = [
        str(process)
        for process in ours.processes(after)
        if process.pid not in before.processes
    ]
    marks = [mark for mark in (ours.nonce, ours.state and str(ours.state)) if mark]
    if ours.state:
        marks.append(own_cgroup(ours.state))
    for kind in ("mounts", "cgroups", "files", "ipc", "locks"):
        new: Iterable[str] = getattr(after, kind) - getattr(before, kind)
        found += [
            f"{kind}: {line}"
            for line in sorted(new)
            if any(mark in line for mark in marks) or _has_jail_uid(line)
        ]
    return found


def _has_jail_uid(line: str) -> bool:
    """Tell whether something belongs to a jail: without root, its uid is our own."""
    uid = line.rpartition(" uid ")[2]
    own = os.geteuid()
    return uid.isdigit() and (int(uid) >= FIRST_JAIL_UID or 0 < own == int(uid))
