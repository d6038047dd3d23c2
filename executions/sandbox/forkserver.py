"""A small server that makes jails by forking itself, and keeps some of them warm.

It is started clean, not as a fork of a worker, so that nothing secret is in the memory
that the jails' first processes share with it. One thread: clone() with a new user
namespace allows no more. Workers talk to it over a unix socket, one JSON object a
message; what it hands out is the path of a jail's own socket, where the agent listens.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import json
import os
import select
import selectors
import shutil
import signal
import socket
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from executions.sandbox import agent, cgroups, jail, linux

SOCKET_NAME: Final = "server"
LOCK_NAME: Final = "lock"
LOG_NAME: Final = "log"
MESSAGE_BYTES: Final = 1 << 16
# A warm interpreter starts under these, until a run brings its own limits.
WARM_MEMORY_BYTES: Final = 1 << 30
WARM_PROCESSES: Final = 256
WARM_SCRATCH_BYTES: Final = 64 << 20
UNENFORCED_WITHOUT_CGROUPS: Final = ("cpu_time_ms", "memory_bytes", "max_processes")
_REMEMBERED_KEYS: Final = 10_000
_RETRY_S: Final = 0.02
_REFILL_BACKOFF_S: Final = 5.0


@dataclass(frozen=True)
class Config:
    """How a fork server makes jails; part of its socket's name.

    `warm` says how many jails wait for each prestart ("" is none), `prestarts` holds
    the fields of agent.Warm. `uid_base` is where the jails' own uids start, used as
    root only. An unused server ends `linger_s` after its last worker.
    """

    max_jails: int = 32
    warm: Mapping[str, int] = field(default_factory=lambda: {"": 1})
    prestarts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    read_only: tuple[str, ...] = ()
    uid_base: int = 2_000_000_000
    cgroup: str = ""
    allow_unenforced: bool = False
    linger_s: float = 60.0
    output_total_bytes: int = 64 << 20
    outcome_linger_s: float = 300.0

    def server_name(self) -> str:
        """Return a name that changes with this configuration and with the code."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        for source in sorted(Path(__file__).parent.glob("*.py")):
            digest.update(source.read_bytes())
        return digest.hexdigest()[:16]


class Refused(Exception):
    """A request cannot be granted; `code` is for the worker, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Jail:
    """One jail from clone() to its last cgroup; the server's record of it."""

    def __init__(self, number: int, slot: int, prestart: str) -> None:
        self.name = f"j{number}"
        self.slot = slot
        self.prestart = prestart
        self.key = ""
        self.ready = False
        self.born = time.monotonic()
        self.pid = 0
        self.pidfd = -1
        self.limits: list[Mapping[str, int]] = []
        self.stages: dict[int, cgroups.Stage] = {}
        self.control: socket.socket | None = None
        self.scratch: jail.Scratch | None = None

    def stage_name(self, stage: int) -> str:
        return f"{self.name}.s{stage}"


class Worker:
    """A worker's connection; it sends one request at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.leaving = False


Waiting = tuple[Worker, dict[str, Any]]


class Server:
    """The pool of jails and the event loop around it."""

    def __init__(
        self,
        config: Config,
        folder: Folder,
        groups: cgroups.Cgroups | None,
        uid_base: int | None,
    ) -> None:
        self._config = config
        self._folder = folder
        self._groups = groups
        self._uid_base = uid_base
        self._unenforced = [] if groups else list(UNENFORCED_WITHOUT_CGROUPS)
        self._selector = selectors.DefaultSelector()
        self._free_slots = deque(range(config.max_jails))
        self._jails: dict[str, Jail] = {}
        self._warm: dict[str, deque[Jail]] = {key: deque() for key in config.warm}
        self._by_key: dict[str, Jail] = {}
        self._refused_keys: OrderedDict[str, None] = OrderedDict()
        self._waiting: deque[Waiting] = deque()
        self._workers: set[Worker] = set()
        self._busy_cgroups: deque[str] = deque()
        self._made = 0
        self._problem = ""
        self._no_refill_before = 0.0
        self._unused_since = time.monotonic()
        # The last worker said that it leaves: it was not killed, none will follow.
        self._was_left = False
        self._stop = False

    # -- the loop --

    def run(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._watch(listener, lambda: self._accept(listener))
        self._watch_signals()
        try:
            while not self._stop:
                self._turn()
        finally:
            self._end_all()

    def _turn(self) -> None:
        ready = self._selector.select(self._patience())
        for chosen, _ in ready:
            chosen.data()
        if not ready:
            self._idle()
        self._stop = self._stop or self._is_unused()

    def _patience(self) -> float | None:
        if self._wants_refill() is not None:
            return max(0.0, self._no_refill_before - time.monotonic())
        if self._busy_cgroups:
            return _RETRY_S
        if not self._workers:
            since = time.monotonic() - self._unused_since
            return max(0.0, self._config.linger_s - since)
        return None

    def _idle(self) -> None:
        """Do what can wait until no request does: refill, remove."""
        self._remove_cgroups()
        prestart = self._wants_refill()
        if prestart is not None and time.monotonic() >= self._no_refill_before:
            self._make(prestart)

    def _is_unused(self) -> bool:
        if self._workers:
            return False
        if self._was_left and not self._by_key:
            return True
        return time.monotonic() - self._unused_since >= self._config.linger_s

    def _watch(self, source: Any, react: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, react)

    def _watch_signals(self) -> None:
        inside, outside = socket.socketpair()
        inside.setblocking(False)
        outside.setblocking(False)
        signal.set_wakeup_fd(outside.fileno(), warn_on_full_buffer=False)
        self._signal_sockets = (inside, outside)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._watch(inside, self._request_stop)

    def _request_stop(self) -> None:
        self._stop = True

    # -- workers --

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = listener.accept()
            connection.setblocking(False)
            worker = Worker(connection)
            self._workers.add(worker)
            self._watch(connection, lambda: self._receive(worker))

    def _receive(self, worker: Worker) -> None:
        try:
            message = worker.connection.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._forget_worker(worker)
            return
        try:
            self._answer(worker, json.loads(message))
        except Refused as refusal:
            self._send(worker, {"error": refusal.code, "message": str(refusal)})
        except (ValueError, KeyError, TypeError) as error:
            self._send(worker, {"error": "bad_request", "message": repr(error)})

    def _send(self, worker: Worker, message: Mapping[str, Any]) -> None:
        try:
            worker.connection.send(json.dumps(message).encode())
        except OSError:
            self._forget_worker(worker)

    def _forget_worker(self, worker: Worker) -> None:
        if worker not in self._workers:
            return
        self._workers.discard(worker)
        self._waiting = deque(w for w in self._waiting if w[0] is not worker)
        self._selector.unregister(worker.connection)
        worker.connection.close()
        self._unused_since = time.monotonic()
        self._was_left = worker.leaving

    def _answer(self, worker: Worker, request: dict[str, Any]) -> None:
        operation = request["op"]
        if operation == "take":
            self._take(worker, request)
        elif operation == "attach":
            self._send(worker, self._attach(str(request["key"])))
        elif operation == "status":
            self._send(worker, self._status())
        elif operation == "leave":
            worker.leaving = True
            self._send(worker, {})
        else:
            raise Refused("bad_request", f"unknown operation {operation!r}")

    def _status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "jails": len(self._jails),
            "running": len(self._by_key),
            "waiting": len(self._waiting),
            "warm": {
                key: sum(jail.ready for jail in jails)
                for key, jails in self._warm.items()
            },
            "unenforced": self._unenforced,
            "problem": self._problem,
        }

    def _attach(self, key: str) -> dict[str, Any]:
        found = self._by_key.get(key)
        if found is None:
            self._refuse_key(key)
            raise Refused("gone", "no sandbox has this key")
        return self._handout(found)

    def _handout(self, taken: Jail) -> dict[str, Any]:
        return {"jail": taken.name, "unenforced": self._unenforced}

    def _refuse_key(self, key: str) -> None:
        """Never start this key any more; the oldest of many are forgotten."""
        self._refused_keys[key] = None
        while len(self._refused_keys) > _REMEMBERED_KEYS:
            self._refused_keys.popitem(last=False)

    # -- taking a jail --

    def _take(self, worker: Worker, request: dict[str, Any]) -> None:
        key = str(request["key"])
        if key in self._refused_keys or key in self._by_key:
            raise Refused("used", "this key was used or given up before")
        prestart = self._pool_of(str(request.get("prestart") or ""))
        if not request["stages"]:
            raise Refused("bad_request", "a run has at least one stage")
        if self._problem and not self._jails:
            # The last one failed: say so, unless a new one can be made.
            self._make(prestart)
        if (ready := self._ready_jail(prestart)) is not None:
            self._hand_over(worker, request, ready)
            return
        self._waiting.append((worker, request))
        coming = sum(not j.ready for j in self._jails.values())
        if coming < len(self._waiting):
            self._make(prestart)

    def _pool_of(self, prestart: str) -> str:
        return prestart if prestart in self._config.prestarts else ""

    def _ready_jail(self, prestart: str) -> Jail | None:
        pool = self._warm.setdefault(prestart, deque())
        for candidate in pool:
            if candidate.ready:
                pool.remove(candidate)
                return candidate
        return None

    def _serve_waiting(self) -> None:
        for _ in range(len(self._waiting)):
            worker, request = self._waiting.popleft()
            prestart = self._pool_of(str(request.get("prestart") or ""))
            ready = self._ready_jail(prestart)
            if ready is None:
                self._waiting.append((worker, request))
            else:
                self._try_hand_over(worker, request, ready)

    def _try_hand_over(
        self, worker: Worker, request: dict[str, Any], ready: Jail
    ) -> None:
        try:
            self._hand_over(worker, request, ready)
        except Refused as refusal:
            self._send(worker, {"error": refusal.code, "message": str(refusal)})
        except (ValueError, KeyError, TypeError) as error:
            self._send(worker, {"error": "bad_request", "message": repr(error)})

    def _hand_over(self, worker: Worker, request: dict[str, Any], ready: Jail) -> None:
        limits = [
            {name: int(stage[name]) for name in ("memory_bytes", "max_processes")}
            for stage in request["stages"]
        ]
        assert ready.scratch is not None
        try:
            ready.scratch.resize(int(request["scratch_bytes"]))
            if self._groups is not None:
                ready.stages[0].limit(**limits[0])
        except OSError as error:
            self._kill(ready)
            raise Refused("unavailable", f"limits cannot be set: {error}") from error
        ready.limits = limits
        ready.key = str(request["key"])
        self._by_key[ready.key] = ready
        self._send(worker, self._handout(ready))

    # -- making and ending jails --

    def _wants_refill(self) -> str | None:
        if not self._free_slots or self._waiting:
            return None if not self._waiting else self._wanted_by_waiting()
        for prestart, count in self._config.warm.items():
            if len(self._warm[prestart]) < count:
                return prestart
        return None

    def _wanted_by_waiting(self) -> str | None:
        if not self._free_slots:
            return None
        coming = sum(not j.ready for j in self._jails.values())
        if coming >= len(self._waiting):
            return None
        return self._pool_of(str(self._waiting[coming][1].get("prestart") or ""))

    def _make(self, prestart: str) -> None:
        """Start one jail for the pool; it becomes ready a few milliseconds later."""
        if not self._free_slots and not self._end_one_warm():
            return
        if not self._free_slots:
            return
        self._made += 1
        made = Jail(self._made, self._free_slots.popleft(), prestart)
        try:
            self._start(made)
        except OSError as error:
            self._note_failure(f"a jail could not be made: {error}")
            self._clean_up(made)
            return
        self._jails[made.name] = made
        self._warm.setdefault(prestart, deque()).append(made)

    def _end_one_warm(self) -> bool:
        """Make room for a waiting run by ending a warm jail that nobody waits for."""
        for pool in self._warm.values():
            if pool:
                self._kill(pool[0])
                return True
        return False

    def _start(self, made: Jail) -> None:
        rootless = self._uid_base is None
        uid = jail.ROOTLESS_UID if rootless else (self._uid_base or 0) + made.slot
        identity = jail.Identity(uid, rootless)
        made.scratch = jail.Scratch(WARM_SCRATCH_BYTES, identity)
        files = None
        if self._groups is not None:
            made.stages[0] = self._groups.create(made.stage_name(0))
            made.stages[0].limit(WARM_MEMORY_BYTES, WARM_PROCESSES)
            files = made.stages[0].open_files()
        made.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener = self._folder.listen(made.name)
        warm = self._config.prestarts.get(made.prestart)
        plan = jail.Plan(
            identity=identity,
            listener=listener,
            control=theirs,
            scratch=made.scratch,
            cgroup_version=self._groups.version if self._groups else 0,
            stage=files,
            warm=agent.Warm(**warm) if warm else None,
            bounds=agent.Bounds(
                output_total_bytes=self._config.output_total_bytes,
                linger_s=self._config.outcome_linger_s,
            ),
        )
        try:
            made.pid, made.pidfd = jail.start(plan)
        finally:
            theirs.close()
            listener.close()
            made.scratch.release_mount()
            for fd in (*files.enter, *files.usage) if files else ():
                os.close(fd)
        made.control.setblocking(False)
        self._watch(made.control, lambda: self._hear(made))
        self._watch(made.pidfd, lambda: self._reap(made))

    def _hear(self, made: Jail) -> None:
        assert made.control is not None
        try:
            message, fds, _, _ = socket.recv_fds(made.control, 1024, 4)
        except BlockingIOError:
            return
        except OSError:
            message, fds = b"", []
        if not message:
            self._selector.unregister(made.control)
            made.control.close()
            made.control = None
        elif message == jail.READY:
            made.ready = True
            self._problem = ""
            self._serve_waiting()
        elif message.startswith(jail.FAILED):
            self._note_failure(message[1:].decode(errors="replace"))
        elif len(fds) == 1:
            self._open_stage(made, message, fds.pop())
        for fd in fds:
            os.close(fd)

    def _note_failure(self, text: str) -> None:
        self._problem = text
        self._no_refill_before = time.monotonic() + _REFILL_BACKOFF_S
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - its log
        for worker, _ in self._waiting:
            self._send(worker, {"error": "unavailable", "message": text})
        self._waiting.clear()

    def _open_stage(self, made: Jail, message: bytes, reply_fd: int) -> None:
        """Make the cgroup of a later stage, in order, with the limits of the run."""
        number = int(message) if message.isdigit() else -1
        if self._groups is None or not 0 <= number < max(1, len(made.limits)):
            jail.answer_stage(reply_fd, None, "no such stage")
            return
        if number not in made.stages and number < max(made.stages, default=0):
            jail.answer_stage(reply_fd, None, "stages count upwards")
            return
        try:
            files = self._stage_files(made, number)
        except OSError as error:
            jail.answer_stage(reply_fd, None, str(error))
            return
        jail.answer_stage(reply_fd, files)
        for fd in (*files.enter, *files.usage):
            os.close(fd)

    def _stage_files(self, made: Jail, number: int) -> cgroups.StageFiles:
        assert self._groups is not None
        if number not in made.stages:
            self._end_stages(made, before=number - 1)
            stage = self._groups.create(made.stage_name(number))
            made.stages[number] = stage
            stage.limit(**made.limits[number])
        return made.stages[number].open_files()

    def _end_stages(self, made: Jail, *, before: int | None = None) -> None:
        assert self._groups is not None
        for number in [n for n in made.stages if before is None or n < before]:
            made.stages.pop(number).close()
            name = made.stage_name(number)
            if not self._groups.remove(name):
                self._busy_cgroups.append(name)

    def _remove_cgroups(self) -> None:
        for _ in range(len(self._busy_cgroups)):
            name = self._busy_cgroups.popleft()
            if self._groups is not None and not self._groups.remove(name):
                self._busy_cgroups.append(name)

    def _kill(self, made: Jail) -> None:
        with contextlib.suppress(ValueError):
            self._warm.get(made.prestart, deque()).remove(made)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(made.pidfd, signal.SIGKILL)

    def _reap(self, made: Jail) -> None:
        """Clean up after a jail whose first process, and so every one, has ended."""
        os.waitpid(made.pid, 0)
        self._selector.unregister(made.pidfd)
        os.close(made.pidfd)
        with contextlib.suppress(ValueError):
            self._warm.get(made.prestart, deque()).remove(made)
            # A warm jail does not end by itself.
            self._no_refill_before = time.monotonic() + _REFILL_BACKOFF_S
        self._jails.pop(made.name, None)
        if self._by_key.pop(made.key, None) is not None:
            self._refuse_key(made.key)
        self._clean_up(made)

    def _clean_up(self, made: Jail) -> None:
        if made.control is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(made.control)
            made.control.close()
        if made.scratch is not None:
            made.scratch.close()
        if self._groups is not None:
            self._end_stages(made)
        self._folder.forget(made.name)
        self._free_slots.append(made.slot)

    def _end_all(self) -> None:
        for made in list(self._jails.values()):
            self._kill(made)
        for made in list(self._jails.values()):
            select.select([made.pidfd], [], [], 5.0)
            self._reap(made)
        deadline = time.monotonic() + 5.0
        while self._busy_cgroups and time.monotonic() < deadline:
            self._remove_cgroups()
            time.sleep(_RETRY_S)
        if self._groups is not None:
            self._groups.remove_all()
        self._folder.remove()


class Folder:
    """The server's own folder in the state folder, by descriptors only.

    Paths of the host mean nothing any more once build_root() was called.
    """

    def __init__(self, state: Path, name: str) -> None:
        self.name = name
        self.path = state / name
        self.path.mkdir(mode=0o700, exist_ok=True)
        self._state_fd = _open_folder(state)
        self._fd = _open_folder(self.path)
        self._lock = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for entry in os.listdir(self._fd):
            if entry not in (LOCK_NAME, LOG_NAME):
                os.unlink(entry, dir_fd=self._fd)

    def listen(self, name: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, kind)
        # Through the descriptor, as the path may be long, and is not ours to see.
        listener.bind(f"/proc/self/fd/{self._fd}/{name}")
        listener.listen(128)
        return listener

    def forget(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)

    def remove(self) -> None:
        for entry in os.listdir(self._fd):
            self.forget(entry)
        with contextlib.suppress(OSError):
            os.rmdir(self.name, dir_fd=self._state_fd)


def _open_folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def cgroup_name(state: Path, server: str) -> str:
    """Name a server's cgroup so that a later one can tell whose it was."""
    owner = hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:8]
    return f"{cgroups.PREFIX}{owner}.{server}"


def clear_left_overs(state: Path, own: str) -> None:
    """Remove what killed servers of this state folder left: cgroups and folders."""
    for folder in state.iterdir():
        lock = folder / LOCK_NAME
        if folder.name == own or not lock.is_file():
            continue
        handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # it is alive
        else:
            cgroups.remove_left_overs(cgroup_name(state, folder.name))
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)
    cgroups.remove_left_overs(cgroup_name(state, own))


def _claim_uids(config: Config) -> int:
    """Find a block of uids that no other fork server of this machine uses.

    The lock lives as long as this process.
    """
    locks = Path(
        "/run/lock" if Path("/run/lock").is_dir() else "/run", "coding-platform"
    )
    locks.mkdir(mode=0o700, exist_ok=True)
    for block in range(1000):
        handle = os.open(locks / f"uids.{block}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        return config.uid_base + block * config.max_jails
    raise OSError("every block of uids is taken")


def _prepare(config: Config, state: Path, name: str) -> tuple[Server, socket.socket]:
    folder = Folder(state, name)
    clear_left_overs(state, name)
    groups = None
    try:
        groups = cgroups.find(cgroup_name(state, name), config.cgroup)
    except cgroups.CgroupsUnusable:
        if not config.allow_unenforced:
            folder.remove()
            raise
    rootless = os.geteuid() != 0
    uid_base = None if rootless else _claim_uids(config)
    uids = (
        [jail.ROOTLESS_UID]
        if uid_base is None
        else list(range(uid_base, uid_base + config.max_jails))
    )
    jail.build_root(str(state), config.read_only, uids, rootless=rootless)
    return Server(config, folder, groups, uid_base), folder.listen(
        SOCKET_NAME, socket.SOCK_SEQPACKET
    )


def main() -> None:
    """Run a fork server; its settings come as JSON on stdin, its word goes to stdout."""
    request = json.load(sys.stdin)
    if os.fork():
        os._exit(0)
    os.setsid()
    config = Config(**request["config"])
    state = Path(request["state"])
    report = os.dup(1)
    try:
        server, listener = _prepare(config, state, request["name"])
    except (OSError, cgroups.CgroupsUnusable) as error:
        _report(report, {"problem": str(error)})
        os._exit(1)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    _report(report, {"ready": True})
    gc.collect()
    gc.freeze()  # so that collections in the jails touch no shared page
    server.run(listener)


def _report(fd: int, message: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(fd, json.dumps(message).encode())
    os.close(fd)


if __name__ == "__main__":
    linux.set_dumpable(False)
    main()
