"""A small server that has jails forked by its zygote, and keeps some of them warm.

It is started clean, not as a fork of a worker, so that nothing secret is in the memory
that the jails' first processes share with it. One thread: clone() with a new user
namespace allows no more. Workers talk to it over a unix socket, one JSON object a
message; with the answer it hands out a connection to the agent in a jail.
"""

from __future__ import annotations

import binascii
import contextlib
import errno
import fcntl
import gc
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from executions.sandbox import cgroups, jail, locks
from executions.sandbox.jailpool import Config, Jail, JailPool

SOCKET_NAME: Final = "server"
LOCK_NAME: Final = "lock"
LOG_NAME: Final = "log"
CGROUPS_NAME: Final = "cgroups"
MESSAGE_BYTES: Final = 1 << 16
# Then rlimits count only each process's CPU time; those on processes hold.
UNENFORCED_WITHOUT_CGROUPS: Final = ("cpu_time_ms", "memory_bytes")
_REMEMBERED_KEYS: Final = 10_000
_END_TIMEOUT_S: Final = 15.0
_OVERDUE_S: Final = 120.0
_LOOK_AROUND_S: Final = 60.0


def server_name(config: Config) -> str:
    """Return a name that changes with the configuration and with this code."""
    import hashlib  # noqa: PLC0415 - for workers: each jail would carry it

    digest = hashlib.sha256(json.dumps(config._asdict(), sort_keys=True).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


class Refused(Exception):
    """A request cannot be granted; `code` is for the worker, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Worker:
    """A worker's connection; it sends one request at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.leaving = False


class Wish(NamedTuple):
    """What a worker wants a jail for."""

    key: str
    prestart: str
    limits: list[dict[str, int]]
    scratch_bytes: int
    wall_s: float

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Wish:
        stages = [
            {name: int(stage[name]) for name in ("memory_bytes", "max_processes")}
            for stage in request["stages"]
            for _ in range(int(stage["count"]))
        ]
        if not stages:
            raise Refused("bad_request", "a run has at least one stage")
        prestart = str(request.get("prestart") or "")
        scratch_bytes = int(request["scratch_bytes"])
        wall_s = float(request["wall_s"])
        return cls(str(request["key"]), prestart, stages, scratch_bytes, wall_s)


Waiting = tuple[Worker, Wish]


class Server:
    """The event loop: what workers ask, and what happens to jails."""

    def __init__(
        self,
        config: Config,
        folder: Folder,
        groups: cgroups.Cgroups | None,
        uids: locks.UidBlock | None,
    ) -> None:
        self._uids = uids
        self._linger_s = config.linger_s
        self._outcome_linger_s = config.outcome_linger_s
        self._folder = folder
        self._unenforced = [] if groups else list(UNENFORCED_WITHOUT_CGROUPS)
        self._selector = selectors.DefaultSelector()
        uid_base = uids.first if uids is not None else None
        self._pool = JailPool(config, groups, uid_base, self)
        self._by_key: dict[str, Jail] = {}
        self._refused_keys: OrderedDict[str, None] = OrderedDict()
        self._waiting: deque[Waiting] = deque()
        self._workers: set[Worker] = set()
        self._problem = ""
        self._unused_since = time.monotonic()
        # The last worker said that it leaves: it was not killed, none will follow.
        self._was_left = False
        self._stop = False

    # -- the loop --

    def run(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self.watch(listener, lambda: self._accept(listener))
        self._watch_signals()
        try:
            while not self._stop:
                self._turn()
        finally:
            self._pool.end()
            if self._uids is not None:
                self._uids.release()
        self._folder.remove()  # after a crash it stays, with the log in it

    def _turn(self) -> None:
        happened = self._selector.select(self._patience())
        for chosen, _ in happened:
            chosen.data()
        self._make_for_waiting()
        self._pool.end_overdue()
        if not happened:
            self._pool.refill()  # which can wait until nothing else does
        self._stop = self._stop or self._is_unused()

    def _patience(self) -> float | None:
        patience = _LOOK_AROUND_S if self._by_key else None
        if not self._workers:
            unused_s = time.monotonic() - self._unused_since
            patience = max(0.0, min(self._linger_s - unused_s, _LOOK_AROUND_S))
        refill_in = self._pool.refill_in()
        if refill_in is None or patience is None:
            return refill_in if patience is None else patience
        return min(patience, refill_in)

    def _is_unused(self) -> bool:
        if self._workers:
            return False
        if self._was_left and not self._by_key:
            return True
        return time.monotonic() - self._unused_since >= self._linger_s

    def watch(self, source: Any, react: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, react)

    def unwatch(self, source: Any) -> None:
        self._selector.unregister(source)

    def _watch_signals(self) -> None:
        inside, outside = socket.socketpair()
        inside.setblocking(False)
        outside.setblocking(False)
        signal.set_wakeup_fd(outside.fileno(), warn_on_full_buffer=False)
        self._signal_sockets = (inside, outside)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.watch(inside, self._request_stop)

    def _request_stop(self) -> None:
        self._stop = True

    # -- jails --

    def jail_is_ready(self) -> None:
        self._problem = ""
        self._serve_waiting()

    def jail_has_ended(self, ended: Jail) -> None:
        if ended.key and self._by_key.pop(ended.key, None) is not None:
            self._refuse_key(ended.key)

    def jail_has_failed(self, problem: str) -> None:
        self._problem = problem
        for worker, _ in self._waiting:
            self._send(worker, {"error": "unavailable", "message": problem})
        self._waiting.clear()

    # -- workers --

    def _accept(self, listener: socket.socket) -> None:
        # Too many open files, too: the jails that run must not end for it.
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connection.setblocking(False)
            worker = Worker(connection)
            self._workers.add(worker)
            self.watch(connection, lambda: self._receive(worker))

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
        with self._refusals_to(worker):
            self._answer(worker, json.loads(message))

    @contextlib.contextmanager
    def _refusals_to(self, worker: Worker) -> Iterator[None]:
        try:
            yield
        except Refused as refusal:
            self._send(worker, {"error": refusal.code, "message": str(refusal)})
        except (ValueError, KeyError, TypeError, IndexError) as error:
            self._send(worker, {"error": "bad_request", "message": repr(error)})

    def _send(
        self, worker: Worker, message: Mapping[str, Any], handed: Sequence[int] = ()
    ) -> bool:
        """Answer a worker, with descriptors if need be; False when it is gone."""
        data = json.dumps(message).encode()
        try:
            if handed:
                socket.send_fds(worker.connection, [data], handed)
            else:
                worker.connection.send(data)
        except OSError:
            self._forget_worker(worker)
            return False
        return True

    def _forget_worker(self, worker: Worker) -> None:
        if worker not in self._workers:
            return
        self._workers.discard(worker)
        self._waiting = deque(w for w in self._waiting if w[0] is not worker)
        self.unwatch(worker.connection)
        worker.connection.close()
        self._unused_since = time.monotonic()
        self._was_left = worker.leaving

    def _answer(self, worker: Worker, request: dict[str, Any]) -> None:
        operation = request["op"]
        if operation == "take":
            self._take(worker, request)
        elif operation == "attach":
            self._attach(worker, str(request["key"]))
        elif operation == "give_back":
            self._send(worker, self._give_back(str(request["key"])))
        elif operation == "held":
            self._send(worker, {"keys": list(self._by_key)})
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
            "jails": len(self._pool),
            "running": len(self._by_key),
            "waiting": len(self._waiting),
            "warm": self._pool.warm(),
            "unenforced": self._unenforced,
            "problem": self._problem,
        }

    def _attach(self, worker: Worker, key: str) -> None:
        found = self._by_key.get(key)
        if found is None:
            self._refuse_key(key)
            raise Refused("gone", "no sandbox has this key")
        self._connect(worker, found)

    def _give_back(self, key: str) -> dict[str, Any]:
        """End the jail of a run that could not be sent, or that is over."""
        if (taken := self._by_key.get(key)) is not None:
            self._pool.kill(taken)
        self._refuse_key(key)
        return {}

    def _connect(self, worker: Worker, taken: Jail) -> bool:
        """Hand a worker a connection to a jail; False when the worker is gone."""
        try:
            connection = self._pool.connect(taken)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Refused("gone", "the sandbox has ended") from error
        except OSError as error:
            # It lives: nobody may take that for its end.
            message = f"the sandbox cannot be reached now: {error.strerror}"
            raise Refused("unavailable", message) from error
        with connection:
            answer = {"unenforced": self._unenforced}
            return self._send(worker, answer, [connection.fileno()])

    def _refuse_key(self, key: str) -> None:
        """Never start this key any more; the oldest of many are forgotten."""
        self._refused_keys[key] = None
        while len(self._refused_keys) > _REMEMBERED_KEYS:
            self._refused_keys.popitem(last=False)

    # -- taking a jail --

    def _take(self, worker: Worker, request: dict[str, Any]) -> None:
        wish = Wish.read(request)
        self._check_key(wish.key)
        ready = self._pool.take(self._pool.kind(wish.prestart))
        if ready is None:
            self._waiting.append((worker, wish))
        else:
            self._hand_over(worker, wish, ready)

    def _check_key(self, key: str) -> None:
        if key in self._refused_keys or key in self._by_key:
            raise Refused("used", "this key was used or given up before")

    def _make_for_waiting(self) -> None:
        while self._waiting:
            kinds = [self._pool.kind(wish.prestart) for _, wish in self._waiting]
            missing = self._pool.missing(kinds)
            if missing is None or not self._pool.make(missing):
                return

    def _serve_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for worker, wish in waiting:
            ready = self._pool.take(self._pool.kind(wish.prestart))
            if ready is None:
                self._waiting.append((worker, wish))
            else:
                with self._refusals_to(worker):
                    self._hand_over(worker, wish, ready)

    def _hand_over(self, worker: Worker, wish: Wish, ready: Jail) -> None:
        try:
            self._check_key(wish.key)  # again, as it may have waited
            self._pool.prepare(ready, wish.limits, wish.scratch_bytes)
        except OSError as error:
            self._pool.kill(ready)
            raise Refused("unavailable", f"limits cannot be set: {error}") from error
        except Refused:
            self._pool.kill(ready)
            raise
        ready.key = wish.key
        hold_s = wish.wall_s + self._outcome_linger_s + _OVERDUE_S
        ready.give_up_at = time.monotonic() + hold_s
        self._by_key[wish.key] = ready
        try:
            is_handed = self._connect(worker, ready)
        except Refused as refusal:
            self._pool.kill(ready)
            raise Refused("unavailable", str(refusal)) from refusal
        if not is_handed:
            self._pool.kill(ready)


class Folder:
    """The server's own folder in the state folder, by descriptors only.

    Paths of the host mean nothing any more once build_root() was called. The lock says
    that the server is alive; it is the last file to go.
    """

    def __init__(self, state: Path, name: str) -> None:
        self.name = name
        self._state_fd = _open_folder(state)
        lock = locks.take(state / name / LOCK_NAME, wait_s=_END_TIMEOUT_S)
        if lock is None:
            raise OSError(errno.EBUSY, "another server holds its lock")
        self._fd = _open_folder(state / name)
        clear_left_overs(state / name)

    def note_cgroups(self, paths: Iterable[str]) -> None:
        """Remember where the cgroups are, should this server be killed."""
        note = os.open(CGROUPS_NAME, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=self._fd)
        os.write(note, "\n".join(paths).encode())
        os.close(note)

    def listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Through the descriptor, as the path may be long, and is not ours to see.
        listener.bind(f"/proc/self/fd/{self._fd}/{SOCKET_NAME}")
        listener.listen(128)
        return listener

    def remove(self) -> None:
        for entry in sorted(os.listdir(self._fd), key=LOCK_NAME.__eq__):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry, dir_fd=self._fd)
        with contextlib.suppress(OSError):
            os.rmdir(self.name, dir_fd=self._state_fd)


def _open_folder(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def cgroup_name(state: Path, server: str) -> str:
    """Name a server's cgroup so that a later one can tell whose it was."""
    # Each jail carries what is imported here, and a better hash brings a library.
    owner = binascii.crc32(str(state.resolve()).encode())
    return f"{cgroups.PREFIX}{owner:08x}.{server}"


def clear_dead_servers(state: Path) -> None:
    """Remove what killed servers of this state folder left."""
    for folder in state.iterdir():
        if not (folder / LOCK_NAME).is_file():
            continue
        handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # it is alive
        else:
            clear_left_overs(folder)
            with contextlib.suppress(OSError):
                (folder / LOG_NAME).unlink(missing_ok=True)
                (folder / LOCK_NAME).unlink()
                folder.rmdir()
        finally:
            os.close(handle)


def clear_left_overs(folder: Path) -> None:
    """Remove a dead server's cgroups, with who is still in them, and its socket."""
    note = folder / CGROUPS_NAME
    if note.is_file():
        for path in note.read_text().splitlines():
            if Path(path).name.startswith(cgroups.PREFIX):
                cgroups.remove_tree(path)
    for entry in folder.iterdir():
        if entry.name not in (LOCK_NAME, LOG_NAME):
            entry.unlink()


def _prepare(config: Config, state: Path, name: str) -> tuple[Server, socket.socket]:
    os.umask(0o022)  # whatever the worker's is: jails have to read what is made here
    folder = Folder(state, name)
    clear_dead_servers(state)
    groups = None
    try:
        groups = cgroups.find(cgroup_name(state, name), config.cgroup)
        folder.note_cgroups(groups.paths)
    except cgroups.CgroupsUnusable:
        if not config.allow_unenforced:
            folder.remove()
            raise
    rootless = os.geteuid() != 0
    uids = None if rootless else locks.UidBlock(config.uid_base)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    inside = [jail.ROOTLESS_UID]
    if uids is not None:
        inside = list(range(uids.first, uids.first + config.max_jails))
    warm = [jail.warm_in_root(*fields) for fields in config.prestarts.items()]
    jail.build_root(str(state), config.read_only, inside, warm=warm, rootless=rootless)
    jail.settle(rootless=rootless)
    listener = folder.listen()
    return Server(config, folder, groups, uids), listener


def main() -> None:
    """Run a fork server: settings come as JSON on stdin, its word goes to stdout."""
    request = json.load(sys.stdin)
    if os.fork():
        os._exit(0)
    os.setsid()
    config = Config(**request["config"])
    state = Path(request["state"])
    report = os.dup(1)
    try:
        server, listener = _prepare(config, state, request["name"])
    except cgroups.CgroupsUnusable as error:
        _report(report, {"problem": f"limits cannot be enforced: {error}"})
        os._exit(1)
    except OSError as error:
        problem = jail.explain(error, rootless=os.geteuid() != 0)
        _report(report, {"problem": f"no jail can be made: {problem}"})
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
