"""Control groups of the jails, version 1 and version 2, seen through directory fds.

The fork server opens the place where it may make cgroups before it gives up its view of
the host, and works relative to these descriptors ever after. Each stage of a run gets a
cgroup of its own, so that its CPU time and its peak memory start at zero.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator, Sequence, Set
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from executions.sandbox.agent import Usage

PREFIX: Final = "coding-platform."
# What sockets may hold beside everything else, where the kernel counts it apart.
SOCKET_MEMORY_PART: Final = 0.125
# Programs weigh as much as one task each, however many threads they start.
_SHARES_OF_A_TASK: Final = 1024  # version 1; at most _MOST_SHARES
_MOST_SHARES: Final = 1 << 18
# The agents, beside all the programs of which they must not be starved.
_AGENTS_WEIGHT: Final = 1000  # version 2; a program's is 100


class CgroupsUnusable(Exception):
    """Limits cannot be enforced with cgroups here; the text says what would help."""


class Mount(NamedTuple):
    """One mounted hierarchy: where, which part of it, and its controllers."""

    point: str
    root: str
    version: int
    options: frozenset[str]


class Hierarchy(NamedTuple):
    """A directory in which the jails' cgroups are made, by controller name."""

    fd: int
    controllers: frozenset[str]


class StageFiles(NamedTuple):
    """Descriptors for the agent: to enter a stage's cgroup, and to read its use."""

    enter: list[int]
    usage: list[int]


def mounts(mountinfo: str) -> Iterator[Mount]:
    """Yield the cgroup hierarchies that /proc/self/mountinfo lists."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            version = 2 if kind == "cgroup2" else 1
            yield Mount(fields[4], fields[3], version, frozenset(options.split(",")))


def memberships(proc_cgroup: str) -> dict[str, str]:
    """Map each version 1 controller, and "" for version 2, to a process's cgroup."""
    found = {}
    for line in proc_cgroup.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name] = path
    return found


def _below(mount: Mount, path: str) -> str:
    """Return where the cgroup `path` is seen under this mount."""
    if mount.root != "/" and path.startswith(mount.root):
        path = path[len(mount.root) :]
    return mount.point.rstrip("/") + "/" + path.strip("/")


def _write(fd: int, name: str, value: str) -> None:
    handle = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=fd)
    try:
        os.write(handle, value.encode())
    finally:
        os.close(handle)


def _read(fd: int, name: str) -> str:
    handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)
    try:
        return os.read(handle, 1 << 16).decode()
    finally:
        os.close(handle)


def _open_directory(path: str, dir_fd: int | None = None) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)


class Stage:
    """The cgroup of one stage, in every hierarchy."""

    def __init__(self, groups: Cgroups, name: str) -> None:
        self._groups = groups
        self._name = name
        self._fds: list[int] = []
        self._memory_bytes = 0
        self._max_processes = 0
        try:
            for hierarchy in groups.hierarchies:
                os.mkdir(name, 0o755, dir_fd=hierarchy.fd)
                self._fds.append(_open_directory(name, hierarchy.fd))
            self._prepare()
        except OSError:
            self.close()
            groups.remove(name)
            raise

    def _fd_of(self, controller: str) -> int:
        for hierarchy, fd in zip(self._groups.hierarchies, self._fds, strict=True):
            if controller in hierarchy.controllers:
                return fd
        raise KeyError(controller)

    def _prepare(self) -> None:
        if self._groups.version == 1:
            return
        for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            # Neither exists on every kernel: without swap accounting there is no limit.
            with contextlib.suppress(FileNotFoundError):
                _write(self._fds[0], name, value)

    def limit(self, memory_bytes: int, max_processes: int) -> None:
        """Set the limits; what is used already may be more than a lower one allows.

        Version 1 then raises OSError (EBUSY), version 2 kills.
        """
        if max_processes != self._max_processes:
            _write(self._fd_of("pids"), "pids.max", str(max_processes))
            self._max_processes = max_processes
        if memory_bytes != self._memory_bytes:
            self._limit_memory(memory_bytes)
            self._memory_bytes = memory_bytes

    def _limit_memory(self, memory_bytes: int) -> None:
        memory = self._fd_of("memory")
        if self._groups.version != 1:
            _write(memory, "memory.max", str(memory_bytes))
            return
        names = ["memory.limit_in_bytes"]
        if self._groups.counts_swap:
            # Memory may never be above memory plus swap, not even in between.
            raised = not self._memory_bytes or memory_bytes > self._memory_bytes
            names.insert(0 if raised else 1, "memory.memsw.limit_in_bytes")
        if not self._memory_bytes:
            names.sort(key=len)  # the first time both are unlimited: memory first
        for name in names:
            _write(memory, name, str(memory_bytes))
        # Version 1 counts what sockets hold apart, and only once it has a limit.
        with contextlib.suppress(FileNotFoundError):
            held = int(memory_bytes * SOCKET_MEMORY_PART)
            _write(memory, "memory.kmem.tcp.limit_in_bytes", str(held))

    def open_files(self) -> StageFiles:
        """Return new descriptors for the agent; the caller closes them."""
        enter = [
            os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=fd)
            for fd in self._fds
        ]
        usage = [
            _open_file(name, self._fd_of(controller))
            for controller, name in _USAGE_FILES[self._groups.version]
        ]
        return StageFiles(enter, usage)

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


_USAGE_FILES: Final = {
    1: (
        ("cpuacct", "cpuacct.usage"),
        ("memory", "memory.max_usage_in_bytes"),
        ("memory", "memory.usage_in_bytes"),
        ("memory", "memory.oom_control"),
        ("pids", "pids.events"),
        ("memory", "memory.kmem.tcp.max_usage_in_bytes"),
        ("memory", "memory.kmem.tcp.usage_in_bytes"),
    ),
    2: (
        ("memory", "cpu.stat"),
        ("memory", "memory.peak"),
        ("memory", "memory.current"),
        ("memory", "memory.events"),
        ("pids", "pids.events"),
    ),
}


def read_usage(version: int, fds: Sequence[int]) -> Usage:
    """Read what a stage has used from the descriptors of Stage.open_files."""
    texts = [os.pread(fd, 4096, 0) for fd in fds]
    cpu, peak, now, memory_events, pids_events, *sockets = texts
    socket_peak, socket_now = (int(text or 0) for text in sockets or (b"", b""))
    return Usage(
        cpu_ns=int(cpu) if version == 1 else _counter(cpu, b"usage_usec") * 1000,
        # Version 2 tells it since Linux 5.19; 0 is unknown.
        memory_peak_bytes=int(peak or 0) + socket_peak,
        memory_bytes=int(now) + socket_now,
        oom_kills=_counter(memory_events, b"oom_kill"),
        processes_refused=_counter(pids_events, b"max"),
    )


class OwnFiles(NamedTuple):
    """Descriptors that tell the use of the cgroup that a container sees as its own."""

    version: int
    usage: list[int]
    """For read_usage()."""
    memory: int
    """For read_page_cache()."""


# Page cache with what is in memory-backed files, and these.
_CACHE: Final = {1: (b"total_cache", b"total_shmem"), 2: (b"file", b"shmem")}


def read_page_cache(files: OwnFiles) -> int:
    """Return how much of the memory in use is only a copy of what is on a disk."""
    text = os.pread(files.memory, 1 << 14, 0)
    cache, shared = (_counter(text, name) for name in _CACHE[files.version])
    return max(0, cache - shared)


def own_usage_files(mountinfo: str) -> OwnFiles:
    """Open them. Raises LookupError where a controller is not mounted, and OSError."""
    found = list(mounts(mountinfo))
    is_unified = not any("memory" in mount.options for mount in found)
    version = 2 if is_unified else 1
    points: dict[str, str] = {}
    for mount in found:
        if mount.version == version:
            names = mount.options if version == 1 else ("memory", "pids")
            points.update(dict.fromkeys(names, mount.point))
    fds = []
    for controller, name in (*_USAGE_FILES[version], ("memory", "memory.stat")):
        folder = _open_directory(points[controller])
        try:
            fds.append(_open_file(name, folder))
        finally:
            os.close(folder)
    return OwnFiles(version, fds[:-1], fds[-1])


def _counter(text: bytes, name: bytes) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(b" ")
        if key == name:
            return int(value)
    return 0


class Cgroups:
    """The place where one fork server makes the cgroups of its jails."""

    def __init__(
        self,
        version: int,
        paths: Sequence[str],
        hierarchies: list[Hierarchy],
        former_home: int | None = None,
    ) -> None:
        self.version = version
        # Of use only as long as the process sees the host's file system.
        self.paths = tuple(paths)
        # cgroup.procs of where this process was before it moved into our directory.
        self._former_home = former_home
        self.hierarchies = hierarchies
        memory = next(h.fd for h in hierarchies if "memory" in h.controllers)
        self.counts_swap = version == 1 and _exists(
            memory, "memory.memsw.limit_in_bytes"
        )

    @cached_property
    def home(self) -> list[int]:
        """Descriptors to enter the cgroup in which this process lives."""
        # On version 1 it stays where it was, which is above our directories.
        folder = ".." if self.version == 1 else _HOME
        return [
            os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=h.fd)
            for h in self.hierarchies
        ]

    def has(self, controller: str) -> bool:
        return any(controller in h.controllers for h in self.hierarchies)

    def create(self, name: str) -> Stage:
        return Stage(self, name)

    def weigh(self, running: int) -> None:
        """Let all programs together weigh as much as this many tasks.

        Where each task counts by itself (version 1), their common directory would
        weigh as much as one. On version 2 we are one of several such directories.
        """
        if self.version == 1:
            shares = min(_SHARES_OF_A_TASK * max(running, 1), _MOST_SHARES)
            for hierarchy in self.hierarchies:
                if "cpu" in hierarchy.controllers:
                    _write(hierarchy.fd, "cpu.shares", str(shares))

    def remove(self, name: str) -> bool:
        """Remove a cgroup; False when the kernel still finds it busy: try again."""
        removed = True
        for hierarchy in self.hierarchies:
            try:
                os.rmdir(name, dir_fd=hierarchy.fd)
            except FileNotFoundError:
                pass
            except OSError:
                removed = False
        return removed

    def remove_all(self) -> None:
        """Remove the server's own directory, once its last jail has ended."""
        for hierarchy in self.hierarchies:
            for name in os.listdir(hierarchy.fd):
                if os.path.isdir(f"/proc/self/fd/{hierarchy.fd}/{name}"):
                    self.remove(name)
        if self._former_home is not None:
            with contextlib.suppress(OSError):
                os.write(self._former_home, b"0")
            self.remove(_HOME)
        for path, hierarchy in zip(self.paths, self.hierarchies, strict=True):
            with contextlib.suppress(OSError):
                os.rmdir(f"../{Path(path).name}", dir_fd=hierarchy.fd)


def _open_file(name: str, directory: int) -> int:
    """Open a file of a cgroup; one that this kernel lacks reads as empty."""
    try:
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def _exists(fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=fd)
    except FileNotFoundError:
        return False
    return True


def find(name: str, configured: str = "") -> Cgroups:
    """Make the directory `name` for the jails in the best place there is.

    `configured` names a version 2 cgroup to use instead of looking for one. Raises
    CgroupsUnusable.
    """
    found = list(mounts(Path("/proc/self/mountinfo").read_text()))
    own = memberships(Path("/proc/self/cgroup").read_text())
    reasons = []
    attempts = (find_version_2,) if configured else (find_version_2, find_version_1)
    for attempt in attempts:
        try:
            return attempt(name, found, own, configured)
        except CgroupsUnusable as problem:
            reasons.append(str(problem))
    raise CgroupsUnusable("; ".join(reason for reason in reasons if reason))


def find_version_1(
    name: str, found: list[Mount], own: dict[str, str], _configured: str
) -> Cgroups:
    places: dict[str, set[str]] = {}
    for controller in ("memory", "pids", "cpuacct", "cpu"):
        for mount in found:
            if mount.version == 1 and controller in mount.options:
                path = _below(mount, own.get(controller, "/"))
                places.setdefault(path, set()).add(controller)
                break
        else:
            if controller != "cpu":
                raise CgroupsUnusable(_NO_VERSION_1)
    made = [f"{place.rstrip('/')}/{name}" for place in places]
    try:
        for path in made:
            _make_afresh(path)
    except OSError as error:
        for path in made:
            remove_tree(path)
        raise CgroupsUnusable(
            "this machine has cgroup version 1, which is for root only "
            f"({error.strerror}: {error.filename}): run as root, or boot with version 2"
        ) from error
    hierarchies = [
        Hierarchy(_open_directory(path), frozenset(controllers))
        for path, controllers in zip(made, places.values(), strict=True)
    ]
    return Cgroups(1, made, hierarchies)


_NO_VERSION_1: Final = "cgroup version 1 lacks the memory, pids or cpuacct controller"
_NEEDED: Final = frozenset({"memory", "pids"})
_HOME: Final = "server"
_FORMER_HOME: Final = f"{PREFIX}main"
_DELEGATE: Final = (
    "run under `systemd-run --user --scope -p Delegate=yes …` (or set Delegate=yes in "
    "the service's unit)"
)


def find_version_2(
    name: str, found: list[Mount], own: dict[str, str], configured: str
) -> Cgroups:
    mount = next((m for m in found if m.version != 1), None)
    if mount is None or "" not in own:
        raise CgroupsUnusable("cgroup version 2 is not mounted")
    parent = configured or _delegated_parent(mount, own[""])
    try:
        available = set(Path(parent, "cgroup.controllers").read_text().split())
    except OSError as error:
        raise CgroupsUnusable(f"{parent} is no cgroup ({error.strerror})") from error
    if missing := _NEEDED - available:
        if any(missing & m.options for m in found if m.version == 1):
            raise CgroupsUnusable("")  # hybrid: these controllers are on version 1
        raise CgroupsUnusable(
            f"cgroup version 2 is mounted, but the {' and '.join(sorted(missing))} "
            f"controller is not delegated to this user: {_DELEGATE}"
        )
    path = f"{parent.rstrip('/')}/{name}"
    try:
        _enable(parent, _NEEDED)
        _make_afresh(path)
        _enable(path, _NEEDED)
        has_weights = "cpu" in available and _enable_weights(parent, path)
        former_home = _move_home(mount, f"{path}/{_HOME}")
        if has_weights:
            Path(path, _HOME, "cpu.weight").write_text(str(_AGENTS_WEIGHT))
    except OSError as error:
        if error.errno == errno.EROFS:
            raise CgroupsUnusable(
                f"{parent} is read-only: a container needs its own writable cgroups "
                "(Docker: --privileged --cgroupns=private)"
            ) from error
        raise CgroupsUnusable(
            f"the cgroup {parent} does not belong to this user ({error.strerror}): "
            f"{_DELEGATE}"
        ) from error
    controllers = _NEEDED | {"cpu"} if has_weights else _NEEDED
    hierarchy = Hierarchy(_open_directory(path), controllers)
    return Cgroups(2, [path], [hierarchy], former_home)


def _enable_weights(parent: str, path: str) -> bool:
    """Enable the cpu controller; not every kernel does, as with real-time tasks."""
    try:
        _enable(parent, {"cpu"})
        _enable(path, {"cpu"})
    except OSError:
        return False
    return True


def _move_home(mount: Mount, home: str) -> int:
    """Move this process into a child of its own directory, beside the jails'.

    Whoever moves a process must own the cgroup that is above both ends: it shall be
    ours. Returns a descriptor that leads back.
    """
    own = memberships(Path("/proc/self/cgroup").read_text())[""]
    former = os.open(f"{_below(mount, own)}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    os.makedirs(home, exist_ok=True)
    Path(home, "cgroup.procs").write_text("0")
    return former


def _make_afresh(path: str) -> None:
    """Make a server's directory; what is there already, a dead one left."""
    remove_tree(path)
    os.makedirs(path, exist_ok=True)


def _delegated_parent(mount: Mount, own: str) -> str:
    """Choose where to make cgroups: our own if it is ours to use, or the top as root.

    systemd marks the cgroups that it delegates with an extended attribute; in all
    others it does not expect anybody to make cgroups.
    """
    path = _below(mount, own)
    if Path(path).name == _FORMER_HOME:
        path = str(Path(path).parent)  # where an earlier server has moved us to
    if os.geteuid() != 0 or own == "/":
        return path
    with contextlib.suppress(OSError):
        if os.getxattr(path, "trusted.delegate") == b"1":
            return path
    top = Path(mount.point)
    if set(top.joinpath("cgroup.subtree_control").read_text().split()) >= _NEEDED:
        return str(top)
    return path


def _enable(path: str, controllers: Set[str]) -> None:
    """Let the children of a cgroup have these controllers.

    A cgroup whose children have controllers may have no processes of its own (but for
    the root), so those there move into a child.
    """
    control = Path(path, "cgroup.subtree_control")
    if set(control.read_text().split()) >= controllers:
        return
    change = " ".join(f"+{name}" for name in sorted(controllers))
    try:
        control.write_text(change)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        _move_processes(path, f"{path.rstrip('/')}/{_FORMER_HOME}")
        control.write_text(change)


def _move_processes(source: str, target: str) -> None:
    os.makedirs(target, exist_ok=True)
    for _ in range(100):  # new ones may be forked meanwhile
        processes = Path(source, "cgroup.procs").read_text().split()
        if not processes:
            return
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                Path(target, "cgroup.procs").write_text(process)


def remove_tree(path: str, *, timeout_s: float = 5.0) -> bool:
    """Kill what still runs in a cgroup and remove it with its children.

    For what a killed server left behind. False when something is still busy.
    """
    deadline = time.monotonic() + timeout_s
    top = Path(path)
    while top.is_dir():
        for folder in (*sorted(p for p in top.iterdir() if p.is_dir()), top):
            with contextlib.suppress(FileNotFoundError):
                _kill_members(folder)
            with contextlib.suppress(OSError):
                folder.rmdir()
        if time.monotonic() > deadline:
            return False
        if top.is_dir():
            time.sleep(0.01)
    return True


def _kill_members(folder: Path) -> None:
    for process in folder.joinpath("cgroup.procs").read_text().split():
        # 0 is somebody of another pid namespace.
        if int(process) not in (0, os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
