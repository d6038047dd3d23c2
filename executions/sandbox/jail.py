"""What a jail is made of: its file system, its namespaces and what it may not do.

The fork server calls build_root() once, which leaves it in a small read-only root of
its own. Each jail is then a clone() of its zygote, as root in a network that this found
for it (networks.py). It adds what else is private to it: one tmpfs behind every
writable folder, /proc, its own uid. Without root, the network too.
"""

from __future__ import annotations

import _socket
import array
import contextlib
import errno
import os
import resource
import signal
import socket
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from executions.sandbox import agent, cgroups, launcher, linux, networks, seccomp

SCRATCH: Final = "/box"
HOME: Final = "/home/runner"
# Each writable folder and its part of the one tmpfs that caps them all.
WRITABLE: Final = {
    SCRATCH: "box",
    "/tmp": "tmp",  # noqa: S108 - the jail's own
    "/var/tmp": "var_tmp",  # noqa: S108
    "/dev/shm": "shm",  # noqa: S108
    HOME: "home",
}
ENVIRONMENT: Final = {
    "PATH": "/usr/local/bin:/usr/local/go/bin:/usr/bin:/bin",
    "HOME": HOME,
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",  # noqa: S108
}
# What the interpreters that are started ahead find ready, a folder for each.
_STARTS: Final = "/run/start"
HOSTNAME: Final = "sandbox"
_HOSTNAME_BYTES: Final = HOSTNAME.encode()
ROOTLESS_UID: Final = 1000
MAX_FILES: Final = 1024
OOM_SCORE: Final = 100
# What stays the same for every run; the rest comes with the limits of each stage.
_RLIMITS: Final = {
    # A handler of core dumps (core_pattern "|…") runs as root on the host whatever this
    # limit, but for 1; see core(5) and the kernel's fs/coredump.c.
    resource.RLIMIT_CORE: 1,
    resource.RLIMIT_RTPRIO: 0,
    resource.RLIMIT_NICE: 0,
    resource.RLIMIT_MEMLOCK: 64 << 20,
    resource.RLIMIT_SIGPENDING: 4096,
    resource.RLIMIT_MSGQUEUE: 819200,
}
INODES: Final = 65536
# The server's handlers. Plain numbers: the enum's pass through Python code.
_HANDLED_SIGNALS: Final = (int(signal.SIGTERM), int(signal.SIGINT), int(signal.SIGHUP))
_SIGKILL: Final = int(signal.SIGKILL)

_SYSTEM_FOLDERS: Final = ("usr", "bin", "sbin", "lib", "lib64", "lib32", "libx32")
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")
_DEVICE_LINKS: Final = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
# From /etc only this is shown, copied, as far as everybody may read it: the rest may
# hold what is nobody's business. What a toolchain needs besides comes from `read_only`.
_ETC: Final = (
    "alternatives",
    "debian_version",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "localtime",
    "mime.types",
    "os-release",
    "protocols",
    "services",
    "timezone",
)
_ETC_FILE_BYTES: Final = 1 << 20
# What tells about the host or other users, and is readable by everyone on some kernels.
_TELLING: Final = (
    "cmdline",
    "config.gz",
    "interrupts",
    "kallsyms",
    "key-users",
    "keys",
    "latency_stats",
    "locks",
    "modules",
    "sched_debug",
    "timer_list",
)
_MASKED: Final = tuple(name for name in _TELLING if os.path.exists(f"/proc/{name}"))
_NAMESPACES: Final = (
    linux.CLONE_NEWNS
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWCGROUP
)


# Without root a network must be the jail's own: see networks.py.
_ROOTLESS_NAMESPACES: Final = linux.CLONE_NEWUSER | linux.CLONE_NEWNET

# What a jail says on the control socket, besides asking for a stage by its number and
# for less scratch.
SHRINK: Final = "scratch "
READY: Final = b"+"
# What it hears there, with a follower's connection.
FOLLOWER: Final = b"f"
FAILED: Final = b"!"


_USED_UP: Final = {
    "unshare": "user namespaces are used up or off: raise user.max_user_namespaces",
    networks.UNSHARE: (
        "network namespaces are used up or off: raise user.max_net_namespaces"
    ),
}


def explain(error: OSError, *, rootless: bool) -> str:
    """Say in plain words why no jail can be made, and what would help."""
    what = str(error.filename or "")
    denied = error.errno in (errno.EPERM, errno.EACCES)
    if error.errno == errno.ENOSYS:
        return f"this kernel or machine is not supported ({what}: {error.strerror})"
    if error.errno == errno.ENOSPC and what in _USED_UP:
        return _USED_UP[what]
    if denied and what == "mount /proc" and rootless:
        return "a container around us hides parts of /proc: run it with them unmasked"
    if denied and rootless:
        return (
            f"user namespaces are not allowed to this user ({what}): allow them "
            "(kernel.unprivileged_userns_clone=1, on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns=0, in a container another "
            "seccomp and AppArmor profile), or run as root"
        )
    if denied:
        return (
            f"root lacks the right to make namespaces ({what}): in a container, add "
            "CAP_SYS_ADMIN and lift its seccomp and AppArmor profiles"
        )
    return f"{what}: {error.strerror}" if what else str(error)


class Identity(NamedTuple):
    """Who runs in a jail, and whether that takes a user namespace."""

    uid: int
    rootless: bool


# ---- the root file system, made once by the fork server ----


def warm_in_root(key: str, fields: Mapping[str, Any]) -> agent.Warm:
    """Return a prestart whose files build_root() puts where all jails see them."""
    return agent.Warm(**fields, folder=f"{_STARTS}/{key}")


def build_root(
    workspace: str,
    read_only: Iterable[str],
    uids: Sequence[int],
    *,
    warm: Iterable[agent.Warm] = (),
    rootless: bool,
) -> None:
    """Leave the host's file system for a small read-only root.

    `workspace` is any existing folder, covered (for this process) while building.
    `read_only` names what toolchains need outside /usr, as `path` or, to be shown
    elsewhere, `path:shown_as`; `uids` get a line in /etc/passwd; the files of `warm`
    are written. Afterwards the host
    is reachable only by descriptors that were open before. In rootless mode the process
    gains a user namespace first.
    """
    if rootless:
        _enter_user_namespace(0)
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    linux.mount(
        "tmpfs", workspace, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755"
    )
    root = Path(workspace)
    _make_folders(root)
    _fill_etc(root / "etc", uids)
    _show_system(root)
    for path in read_only:
        source, _, shown_as = path.partition(":")
        _show(Path(source), root, shown_as or source)
    _make_devices(root / "dev")
    for one in warm:
        Path(f"{root}{_STARTS}").mkdir(mode=0o755, exist_ok=True)
        launcher.write_files(one, f"{root}{one.folder}")
    # The jails cover it with their own; without it the kernel refuses them one.
    linux.mount("/proc", str(root / "proc"), "", linux.MS_BIND | linux.MS_REC)
    os.chdir(root)
    linux.pivot_root(".", ".")
    linux.unmount(".")
    os.chdir("/")
    flags = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
    linux.mount("", "/", "", linux.MS_REMOUNT | linux.MS_BIND | flags)


def _enter_user_namespace(uid: int) -> None:
    """Become `uid` of a new user namespace in which only this user exists."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER)
    _map_user(uid, outer_uid, outer_gid)


def _map_user(uid: int, outer_uid: int, outer_gid: int) -> None:
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{uid} {outer_gid} 1"),
    ):
        handle = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)


def _make_folders(root: Path) -> None:
    for folder in ("dev", "etc", "proc", "root", "run", "sys", "var", *WRITABLE):
        (root / folder.lstrip("/")).mkdir(mode=0o755, parents=True, exist_ok=True)


def _fill_etc(etc: Path, uids: Sequence[int]) -> None:
    for name in _ETC:
        _copy_public(Path("/etc", name), etc / name)
    accounts = [
        "root:x:0:0:root:/root:/usr/sbin/nologin",
        *(f"runner{_suffix(i)}:x:{u}:{u}::{HOME}:/bin/sh" for i, u in enumerate(uids)),
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
    ]
    groups = [
        "root:x:0:",
        *(f"runner{_suffix(i)}:x:{u}:" for i, u in enumerate(uids)),
        "nogroup:x:65534:",
    ]
    files = {
        "passwd": accounts,
        "group": groups,
        "hosts": [f"127.0.0.1 localhost {HOSTNAME}", "::1 localhost"],
        "hostname": [HOSTNAME],
        "nsswitch.conf": ["passwd: files", "group: files", "hosts: files"],
        "resolv.conf": [],
    }
    for name, lines in files.items():
        (etc / name).write_text("".join(f"{line}\n" for line in lines))


def _suffix(index: int) -> str:
    return str(index) if index else ""


def _copy_public(source: Path, target: Path) -> None:
    """Copy a file or tree as far as anyone may read it; links stay links."""
    try:
        mode = source.lstat().st_mode
    except OSError:
        return
    if stat.S_ISLNK(mode):
        target.symlink_to(source.readlink())
    elif stat.S_ISDIR(mode) and mode & stat.S_IROTH:
        target.mkdir(mode=0o755, exist_ok=True)
        for entry in sorted(source.iterdir()):
            _copy_public(entry, target / entry.name)
    elif stat.S_ISREG(mode) and mode & stat.S_IROTH and _is_small(source):
        target.write_bytes(source.read_bytes())


def _is_small(path: Path) -> bool:
    return path.stat().st_size <= _ETC_FILE_BYTES


def _show_system(root: Path) -> None:
    for name in _SYSTEM_FOLDERS:
        source, target = Path("/", name), root / name
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            target.mkdir()
            _bind_read_only(source, target)


def _show(source: Path, root: Path, shown_as: str) -> None:
    """Show one more file or folder of the host, read-only."""
    target = root / shown_as.lstrip("/")
    if not source.is_absolute() or not source.exists() or target.exists():
        return
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if Path("/etc") in source.parents:
        _copy_public(source.resolve(), target)
        return
    if source.is_dir():
        target.mkdir()
    else:
        target.touch()
    _bind_read_only(source, target)


def _bind_read_only(source: Path, target: Path) -> None:
    # With what is mounted below it, such as a /usr/local of its own.
    flags = linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
    linux.bind_tree(str(source), str(target), flags)


def _make_devices(dev: Path) -> None:
    for name in _DEVICES:
        target = dev / name
        target.touch()
        # A read-only mount keeps programs from changing the host's node (its times).
        linux.bind(
            f"/dev/{name}",
            str(target),
            linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NOEXEC,
        )
    for name, aim in _DEVICE_LINKS.items():
        (dev / name).symlink_to(aim)


def settle(*, rootless: bool) -> None:
    """Give up, once for the server and all its jails, what none of them needs."""
    # The server's own line names folders of the host.
    linux.set_command_line("sandbox server")
    os.umask(0o022)
    # Programs cannot lower theirs below this, so a worker is never killed for them.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "r+") as score:
        score.write(str(max(int(score.read()), OOM_SCORE)))
    for limit, most in _RLIMITS.items():
        _limit(limit, most)
    if not rootless:
        os.setgroups([])
        linux.drop_bounding_set()
    linux.no_new_privileges()


def _limit(limit: int, most: int) -> None:
    hard = resource.getrlimit(limit)[1]
    value = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(limit, (value, value))


# ---- one jail ----


class Scratch:
    """The tmpfs behind everything that is writable in one jail."""

    def __init__(self, size_bytes: int, identity: Identity) -> None:
        self.size_bytes = size_bytes
        self._fs, self.mount_fd = linux.new_tmpfs(
            size=str(size_bytes), nr_inodes=str(INODES), mode="0711"
        )
        for name in WRITABLE.values():
            os.mkdir(name, 0o700, dir_fd=self.mount_fd)
            if not identity.rootless:
                os.chown(name, identity.uid, identity.uid, dir_fd=self.mount_fd)

    def resize(self, size_bytes: int) -> None:
        linux.resize_tmpfs(self._fs, size=str(size_bytes))
        self.size_bytes = size_bytes

    def release_mount(self) -> None:
        """Drop the server's hold on the mount, once the jail has its own."""
        if self.mount_fd >= 0:
            os.close(self.mount_fd)
            self.mount_fd = -1

    def close(self) -> None:
        self.release_mount()
        os.close(self._fs)


class _Within:
    """See agent.Confinement.within; a generator would touch ten pages more."""

    def __init__(
        self, confinement: JailConfinement, stage: int, home: Sequence[int]
    ) -> None:
        self._confinement = confinement
        self._stage = stage
        self._home = home

    def __enter__(self) -> None:
        self._confinement.place(self._stage)

    def __exit__(self, *_: object) -> None:
        for fd in self._home:
            os.write(fd, b"0")


class Door:
    """An agent.Door: the server hands in each follower's connection.

    They come on the control socket, on which a jail hears nothing else.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def fileno(self) -> int:
        return self._control.fileno()

    def accept(self) -> _socket.socket | None:
        try:
            message, descriptors = linux.receive_fds(
                self._control, 1, 1, socket.MSG_DONTWAIT
            )
        except OSError:
            return None
        if not message:
            raise EOFError("the server does not know this jail any more")
        if not descriptors:
            return None
        # Its kind is known, which spares asking for it.
        return _socket.socket(
            socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=descriptors[0]
        )


class JailConfinement:
    """The agent's side of the cgroups: enter them, read them, ask for more of them."""

    samples_memory = False

    def __init__(
        self,
        control: socket.socket,
        version: int,
        first: cgroups.StageFiles | None,
        home: Sequence[int],
    ) -> None:
        self._control = control
        self._home = home
        self._version = version
        self._limited = first is not None
        self._stages: dict[int, cgroups.StageFiles] = {}
        if first is not None:
            self._stages[0] = first

    def place(self, stage: int) -> None:
        if self._limited:
            for fd in self._files(stage).enter:
                os.write(fd, b"0")

    def within(self, stage: int) -> _Within:
        return _Within(self, stage, self._home)

    def usage(self, stage: int) -> agent.Usage | None:
        if not self._limited:
            return None
        return cgroups.read_usage(self._version, self._files(stage).usage)

    def _files(self, stage: int) -> cgroups.StageFiles:
        if stage not in self._stages:
            # Stages come one after the other: the earlier ones are not asked again.
            for earlier in self._stages.values():
                for fd in (*earlier.enter, *earlier.usage):
                    os.close(fd)
            self._stages = {stage: self._ask_for(stage)}
        return self._stages[stage]

    def _ask_for(self, stage: int) -> cgroups.StageFiles:
        """Have the server make the stage's cgroup, if need be, and open its files."""
        count, fds = self._ask(str(stage))
        return cgroups.StageFiles(fds[:count], fds[count:])

    def shrink_scratch(self, size_bytes: int) -> None:
        here = os.statvfs(SCRATCH)
        used = (here.f_blocks - here.f_bfree) * here.f_frsize
        self._ask(f"{SHRINK}{max(size_bytes, used)}")

    def _ask(self, question: str) -> tuple[int, list[int]]:
        """Ask the server; return a number and descriptors. Raises OSError.

        The answer comes over a socket of its own, as the agent and its children share
        the control socket.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            socket.send_fds(self._control, [question.encode()], [theirs.fileno()])
            theirs.close()
            answer, fds = linux.receive_fds(ours, 256, 16)
        if not answer.isdigit():
            raise OSError(f"the server refuses {question}: {answer.decode() or 'gone'}")
        return int(answer), fds


class Plan(NamedTuple):
    """All that a jail's first process is made from."""

    identity: Identity
    control: socket.socket
    mount_fd: int
    cgroup_version: int
    stage: cgroups.StageFiles | None
    home: Sequence[int]
    warm: agent.Warm | None
    bounds: agent.Bounds


# One for jails with cgroups, one for those without.
_PLACES: Final = {
    counts_processes: agent.Place(
        scratch=SCRATCH,
        env=ENVIRONMENT,
        writable=tuple(path for path in WRITABLE if path != SCRATCH),
        counts_processes=counts_processes,
    )
    for counts_processes in (True, False)
}
_FILTER: Final = linux.Filter(seccomp.FILTER)


class _Prepared(NamedTuple):
    """What a jail's first process finds ready.

    It is worked out before the fork, as the child copies each page that it touches.
    """

    outer: tuple[int, int]
    closed: list[tuple[int, int]]
    confinement: JailConfinement


def start(plan: Plan) -> int:
    """Start a jail with its agent; return the pid of its first process.

    It is a child of the caller's parent, as the caller is a zygote. As root it is in
    the caller's network, which must be nobody else's.
    """
    flags = _NAMESPACES | (_ROOTLESS_NAMESPACES if plan.identity.rootless else 0)
    prepared = _prepare(plan)
    pid = linux.clone(flags | linux.CLONE_PARENT)
    if pid:
        return pid
    try:
        _be_jail(plan, prepared)
    except OSError as error:
        _report(plan, explain(error, rootless=plan.identity.rootless))
    except BaseException as error:  # noqa: BLE001 - nothing may leave the child
        _report(plan, repr(error))
    finally:
        os._exit(70)


def _prepare(plan: Plan) -> _Prepared:
    kept = [0, 1, 2, plan.control.fileno()]
    if plan.stage is not None:
        kept += [*plan.stage.enter, *plan.stage.usage, *plan.home]
    if plan.warm is not None:
        launcher.look_up(plan.warm.argv[0], ENVIRONMENT["PATH"])
    return _Prepared(
        (os.geteuid(), os.getegid()),
        linux.gaps_between([*kept, plan.mount_fd]),
        JailConfinement(plan.control, plan.cgroup_version, plan.stage, plan.home),
    )


def _report(plan: Plan, problem: str) -> None:
    with contextlib.suppress(OSError):
        plan.control.send(FAILED + problem.encode()[:900])


def _be_jail(plan: Plan, prepared: _Prepared) -> NoReturn:
    _enter(plan, prepared)
    os.chdir(SCRATCH)
    # Fails when the server died before it could take the jail along.
    plan.control.send(READY)
    agent.serve(
        Door(plan.control),
        prepared.confinement,
        _PLACES[plan.stage is not None],
        warm=plan.warm,
        bounds=plan.bounds,
    )


def _enter(plan: Plan, prepared: _Prepared) -> None:
    """Turn this fresh clone into the inside of the jail."""
    linux.close_ranges(prepared.closed)
    for number in _HANDLED_SIGNALS:
        linux.default_signal(number)
    signal.set_wakeup_fd(-1)
    os.setsid()
    if plan.identity.rootless:
        _map_user(plan.identity.uid, *prepared.outer)
    _mount_all(plan.mount_fd)
    linux.set_hostname(_HOSTNAME_BYTES)
    if plan.identity.rootless:
        linux.loopback_up()
    _limit(resource.RLIMIT_NOFILE, MAX_FILES)
    _drop_privileges(plan.identity)


def _mount_all(scratch_fd: int) -> None:
    # The whole tmpfs must be somewhere for its parts to be bound from, and unmounting
    # costs an RCU grace period: it goes where the new /proc then covers it.
    linux.attach_mount(scratch_fd, "/proc")
    os.close(scratch_fd)
    for target, part in WRITABLE.items():
        linux.bind(f"/proc/{part}", target)
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("proc", "/proc", "proc", flags)
    for name in _MASKED:
        linux.bind("/dev/null", f"/proc/{name}")


def _drop_privileges(identity: Identity) -> None:
    if identity.rootless:
        linux.drop_bounding_set()  # a new user namespace comes with a full one
    else:
        os.setresgid(identity.uid, identity.uid, identity.uid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    linux.drop_capabilities()
    _FILTER.install()
    # A change of uid undoes both.
    linux.die_with_parent(_SIGKILL)
    linux.set_dumpable(False)


def answer_shrunk(reply_fd: int, problem: str = "") -> None:
    """Answer the wish for less scratch."""
    with socket.socket(fileno=reply_fd) as reply, contextlib.suppress(OSError):
        reply.send(problem.encode()[:200] or b"0")


def answer_stage(
    reply_fd: int, files: cgroups.StageFiles | None, problem: str = ""
) -> None:
    """Answer the question for a stage's cgroup."""
    with socket.socket(fileno=reply_fd) as reply, contextlib.suppress(OSError):
        if files is None:
            reply.send(problem.encode()[:200])
            return
        fds = array.array("i", [*files.enter, *files.usage])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)]
        reply.sendmsg([str(len(files.enter)).encode()], rights, socket.MSG_DONTWAIT)
