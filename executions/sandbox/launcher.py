"""The agent's children: processes that wait, confined already, for a program.

A launcher is a fork of the agent that waits for its orders and becomes the program by
exec. A warm interpreter was exec'ed ahead and waits by itself. Both have the program's
pipes as 0, 1 and 2 and take one JSON line from descriptor 3. Standard library only.
"""

from __future__ import annotations

# Both modules' C parts alone: members of enums and Python's own sockets made an agent
# touch, and so copy, some 50 pages more.
import _signal  # type: ignore[import-not-found] # typeshed has no stub
import _socket
import contextlib
import errno
import fcntl
import json
import os
import resource
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, NoReturn, Protocol

from executions.sandbox.protocol import to_json

ORDERS_FD = 3
_KILL = b"kill\n"
_KILLED = b"k"
_KILL_TIMEOUT_S = 1.0
MAX_OPEN_FILES = 1024
_DEFAULT_STACK_BYTES = 64 * 1024 * 1024
_SEND_TIMEOUT_S = 10.0
# The agent handles or ignores the first three, and may have been started where others
# are ignored (by nohup, or in the background of a shell); its children must not be.
_OWN_SIGNALS = tuple(
    int(number)
    for number in (
        signal.SIGCHLD,
        signal.SIGPIPE,
        signal.SIGXFSZ,
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGUSR1,
        signal.SIGUSR2,
    )
)
_STARTUP_NAMES = (
    "PYTHON",
    "NODE",
    "LD_",
    "LC_",
    "LANG",
    "MALLOC_",
    "GLIBC_",
    "TZ",
    "UV_",
    "OPENSSL_",
    "SSL_",
    "ICU_",
    "NO_COLOR",
    "FORCE_COLOR",
    "HOME",
    "TERM",
)
"""Beginnings of the variables that an interpreter reads while it starts."""


class Placing(Protocol):
    def place(self, stage: int) -> None: ...

    def within(self, stage: int) -> AbstractContextManager[None]: ...


class Warm(NamedTuple):
    """An interpreter to start ahead of the run (see runtimes.base.Prestart).

    `files` are in a folder of their own, for which `{folder}` stands in `argv` and in
    the values of `env`, and `bytecode`, in hexadecimal digits, in its __pycache__. That
    is `folder` where the sandbox has them already; else they are written. The
    interpreter takes over a run whose argument list starts with `command`.
    """

    key: str
    argv: Sequence[str]
    command: Sequence[str]
    env: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    bytecode: Mapping[str, str] = {}
    folder: str = ""


class Place(NamedTuple):
    """Where the program lives in this sandbox.

    `scratch` is its working folder; `writable` names every other folder that it can
    write to (all are emptied between cases). `env` is its whole environment, to which
    a run may add. With `is_init` the agent is PID 1 of its own pid namespace and ends
    a stage by signalling every process there is. With `counts_processes` the
    confinement bounds the number of processes; otherwise, where the program has a uid
    or a user namespace of its own (`has_own_uid`), RLIMIT_NPROC does.
    """

    scratch: str
    env: Mapping[str, str]
    writable: Sequence[str] = ()
    is_init: bool = True
    counts_processes: bool = True
    has_own_uid: bool = True


class CannotStart(Exception):
    """The program could not be started; `is_program_fault` tells whose fault it is."""

    def __init__(self, message: str, *, is_program_fault: bool = False) -> None:
        super().__init__(message)
        self.is_program_fault = is_program_fault


class Child:
    """A waiting process and our ends of its pipes (all non-blocking)."""

    def __init__(self, pid: int, pipes: Sequence[int], orders: _socket.socket) -> None:
        self.pid = pid
        self.stdin, self.stdout, self.stderr = pipes
        self._orders = orders
        self.warm: Warm | None = None

    def pipes(self) -> list[int]:
        return [fd for fd in (self.stdin, self.stdout, self.stderr) if fd >= 0]

    def close(self) -> None:
        for descriptor in self.pipes():
            os.close(descriptor)
        self._orders.close()

    def start(self, orders: Mapping[str, Any]) -> None:
        """Let it become the program. Raises CannotStart when it is not there."""
        if self.warm is not None:
            self._limit(orders["rlimits"])
            # The last word of its command is the program, the first of what it is told.
            argv = orders["argv"][len(self.warm.command) - 1 :]
            orders = {"argv": argv, "env": orders["env"]}
        try:
            self._orders.sendall(to_json(orders).encode() + b"\n")
        except OSError as error:
            raise CannotStart(f"the launcher is gone: {error.strerror}") from error

    def kill_others(self) -> bool:
        """Let this launcher kill all but itself and PID 1; return whether it did.

        To a process that signals everything, it does so at one stroke, as to PID 1.
        """
        try:
            self._orders.settimeout(_KILL_TIMEOUT_S)
            self._orders.sendall(_KILL)
            return self._orders.recv(1) == _KILLED
        except OSError:
            return False
        finally:
            self._orders.settimeout(_SEND_TIMEOUT_S)

    def _limit(self, rlimits: Sequence[tuple[int, int]]) -> None:
        for number, value in rlimits:
            hard = resource.prlimit(self.pid, number)[1]
            ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.prlimit(self.pid, number, (ceiling, ceiling))

    def failure(self) -> CannotStart | None:
        """Return why exec failed; None if the program was reached.

        Only meaningful once the process has ended. A warm interpreter tells nothing
        here: its descriptor was the program's for a moment.
        """
        if self.warm is not None:
            return None
        try:
            told = self._orders.recv(4096, socket.MSG_DONTWAIT)
        except OSError:
            return None
        if not told:
            return None
        failure = json.loads(told)
        return CannotStart(
            failure["message"], is_program_fault=failure["is_program_fault"]
        )


def is_for(
    warm: Warm, argv: Sequence[str], env: Mapping[str, str], base: Mapping[str, str]
) -> bool:
    """Whether `warm`, started with the environment `base`, does what `argv` would.

    `env` is what the run adds to `base`: what an interpreter reads while it starts
    must be as it was.
    """
    if list(argv[: len(warm.command)]) != list(warm.command):
        return False
    for name, text in env.items():
        if text != base.get(name) and name.startswith(_STARTUP_NAMES):
            return False
    there, here = env.get("PATH", ""), base.get("PATH", "")
    return not there or there == here or find(argv[0], there) == find(argv[0], here)


_found: dict[tuple[str, str], str] = {}


def find(name: str, path: str) -> str | None:
    """Return the program's file; what look_up() found before a fork is not sought."""
    return _found.get((name, path)) or look_up(name, path)


def look_up(name: str, path: str) -> str | None:
    """Search the program's file, as it is now, and remember it for find()."""
    for folder in path.split(":"):
        file = f"{folder}/{name}"
        if os.access(file, os.X_OK):
            _found[name, path] = file
            return file
    _found.pop((name, path), None)
    return None


def spawn(
    confinement: Placing,
    place: Place,
    stage: int,
    *,
    warm: Warm | None = None,
    running: Child | None = None,
) -> Child:
    """Fork a launcher for `stage`, or start the interpreter `warm` for it.

    An interpreter that is not installed gets a launcher in its place, which does for
    every program. A launcher lets go of the pipes of the program `running` before
    anything else, as that shall see the end of its input when we close it.
    """
    inner, outer = [0, 0, 0], [0, 0, 0]
    inner[0], outer[0] = os.pipe2(os.O_CLOEXEC)
    outer[1], inner[1] = os.pipe2(os.O_CLOEXEC)
    outer[2], inner[2] = os.pipe2(os.O_CLOEXEC)
    orders, theirs = _socket.socketpair()
    # A child of a non-dumpable process cannot write its own score, so the agent raises
    # its own for the moment of the fork: the kernel's OOM killer shall take it first.
    score = _write_score(b"1000")
    try:
        pid = None
        if warm is not None:
            with confinement.within(stage):
                pid = _start_warm(warm, place, inner, theirs)
        if pid is None:
            warm, pid = None, os.fork()
        if pid == 0:
            for descriptor in running.pipes() if running is not None else ():
                os.close(descriptor)
            _be_child(confinement, place, stage, inner, theirs)
    finally:
        if score is not None:
            _write_score(score)
    for descriptor in inner:
        os.close(descriptor)
    theirs.close()
    for descriptor in outer:
        os.set_blocking(descriptor, False)
    orders.settimeout(_SEND_TIMEOUT_S)
    child = Child(pid, outer, orders)
    child.warm = warm
    return child


def _start_warm(
    warm: Warm, place: Place, pipes: Sequence[int], orders: _socket.socket
) -> int | None:
    """Start the interpreter without forking the agent, which would copy its pages.

    It inherits from the agent what does not depend on the run: limits, the folder.
    Returns None when it cannot be started.
    """
    os.chdir(place.scratch)
    folder = warm.folder or _prepare(warm, place)
    env = {name: text.replace("{folder}", folder) for name, text in warm.env.items()}
    argv = [part.replace("{folder}", folder) for part in warm.argv]
    _set_fixed_limits()
    path = find(argv[0], place.env.get("PATH", os.defpath)) or argv[0]
    try:
        return os.posix_spawn(
            path,
            argv,
            {**place.env, **env},
            file_actions=[
                # 0 to 2 are open in the agent, so no target covers a later source.
                (os.POSIX_SPAWN_DUP2, pipes[0], 0),
                (os.POSIX_SPAWN_DUP2, pipes[1], 1),
                (os.POSIX_SPAWN_DUP2, pipes[2], 2),
                (os.POSIX_SPAWN_DUP2, orders.fileno(), ORDERS_FD),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=_OWN_SIGNALS,
        )
    except OSError:
        if not warm.folder:
            _clear(warm, folder)
        return None


def _prepare(warm: Warm, place: Place) -> str:
    parent = place.env.get("TMPDIR", place.scratch)
    folder = f"{parent}/.start-{warm.key}"
    write_files(warm, folder)
    return folder


def write_files(warm: Warm, folder: str) -> None:
    """Make `folder` with what the interpreter finds in it."""
    _write(folder, {name: text.encode() for name, text in warm.files.items()})
    if warm.bytecode:
        content = {name: bytes.fromhex(text) for name, text in warm.bytecode.items()}
        _write(f"{folder}/__pycache__", content)


def _write(folder: str, files: Mapping[str, bytes]) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, mode=0o755)
    for name, content in files.items():
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        descriptor = os.open(f"{folder}/{name}", flags, 0o644)
        try:
            os.write(descriptor, content)  # a regular file takes all of it
        finally:
            os.close(descriptor)


def _clear(warm: Warm, folder: str) -> None:
    for name in warm.files:
        os.unlink(f"{folder}/{name}")
    for name in warm.bytecode:
        os.unlink(f"{folder}/__pycache__/{name}")
    if warm.bytecode:
        os.rmdir(f"{folder}/__pycache__")
    os.rmdir(folder)


OOM_SCORE_FD: list[int] = []
"""/proc/self/oom_score_adj, opened by the agent before it became non-dumpable."""


def _write_score(score: bytes) -> bytes | None:
    if not OOM_SCORE_FD:
        return None
    descriptor = OOM_SCORE_FD[0]
    try:
        before = os.pread(descriptor, 16, 0).strip()
        os.pwrite(descriptor, score, 0)
    except OSError:
        return None
    return before


def _be_child(
    confinement: Placing,
    place: Place,
    stage: int,
    pipes: Sequence[int],
    orders: _socket.socket,
) -> NoReturn:
    told_to = orders.fileno()
    try:
        _detach_from_agent()
        confinement.place(stage)
        _take_descriptors(pipes, orders.fileno())
        told_to = ORDERS_FD
        os.chdir(place.scratch)
        while (line := _read_line()) == _KILL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            os.write(ORDERS_FD, _KILLED)
        _exec_ordered(json.loads(line))
    except BaseException as error:  # noqa: BLE001 - a fork of the agent must end here
        _tell(told_to, f"{type(error).__name__}: {error}")
    finally:
        os._exit(127)


def _detach_from_agent() -> None:
    signal.set_wakeup_fd(-1)
    for number in _OWN_SIGNALS:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    os.setsid()


def _take_descriptors(pipes: Sequence[int], orders: int) -> None:
    # First out of the way of 0 to 3, then to their places.
    above = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (*pipes, orders)]
    for target, source in enumerate(above):
        os.dup2(source, target, inheritable=target != ORDERS_FD)
    os.closerange(ORDERS_FD + 1, 65536)


def _set_fixed_limits() -> None:
    """Set what does not depend on the run; the stack's bound can still be raised."""
    _set_limits(())
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    if hard == resource.RLIM_INFINITY or hard > _DEFAULT_STACK_BYTES:
        resource.setrlimit(resource.RLIMIT_STACK, (_DEFAULT_STACK_BYTES, hard))


def _set_limits(rlimits: Sequence[Sequence[int]]) -> None:
    # 1 byte: no core file, and no core for a handler on the host, which 0 would give.
    fixed = ((resource.RLIMIT_CORE, 1), (resource.RLIMIT_NOFILE, MAX_OPEN_FILES))
    for number, value in (*fixed, *rlimits):
        soft, hard = resource.getrlimit(number)
        ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
        if not soft == hard == ceiling:
            resource.setrlimit(number, (ceiling, ceiling))


def _read_line() -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        data = os.read(ORDERS_FD, 65536)
        if not data:
            os._exit(0)  # the agent is gone
        line += data
    return bytes(line)


def _exec_ordered(orders: Mapping[str, Any]) -> None:
    _set_limits(orders["rlimits"])
    argv = [part.encode("utf-8", "surrogateescape") for part in orders["argv"]]
    env = {
        name.encode("utf-8", "surrogateescape"): text.encode("utf-8", "surrogateescape")
        for name, text in orders["env"].items()
    }
    try:
        os.execvpe(argv[0], argv, env)  # noqa: S606
    except OSError as error:
        # What lies in the scratch folder is the program's; an interpreter is ours.
        is_program = b"/" in argv[0] and not argv[0].startswith(b"/")
        too_long = error.errno == errno.E2BIG
        is_missing = error.errno == errno.ENOENT and not is_program
        why = "not installed where programs run" if is_missing else error.strerror
        _tell(
            ORDERS_FD,
            f"{orders['argv'][0]}: {why}",
            is_program_fault=is_program or too_long,
        )


def _tell(descriptor: int, message: str, *, is_program_fault: bool = False) -> None:
    told = {"message": message[:1000], "is_program_fault": is_program_fault}
    with contextlib.suppress(OSError):
        os.write(descriptor, json.dumps(told).encode())
