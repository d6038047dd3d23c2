"""The jails of one fork server: made, kept warm, and cleaned up after.

Each is for one run only. What a jail says on its control socket, and that it has ended,
arrives through the event loop of forkserver.py.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from executions.sandbox import agent, cgroups, jail, linux
from executions.sandbox.zygote import Cast, Mould, Zygote, ZygoteLost

# What a warm interpreter has at least, until a run brings its own limits.
_WARM_MEMORY_BYTES: Final = 256 << 20
_WARM_PROCESSES: Final = 64
_RETRY_S: Final = 0.02
# The run that emptied the pool gets the processor first.
_REFILL_DELAY_S: Final = 0.01
_REFILL_BACKOFF_S: Final = 5.0
_END_TIMEOUT_S: Final = 5.0


class Config(NamedTuple):
    """How a fork server makes jails; part of its socket's name.

    `warm` says how many jails wait for each prestart ("" is none), `prestarts` holds
    the fields of agent.Warm. `read_only` names what is shown besides the system's
    folders, as `path` or `path:shown_as`. `uid_base` is where the jails' own uids
    start, used as root only. An unused server ends `linger_s` after its last worker.
    Jails wait with the `usual` limits, so that most runs need no others.
    """

    max_jails: int = 32
    warm: Mapping[str, int] = {"": 1}
    prestarts: Mapping[str, Mapping[str, Any]] = {}
    read_only: tuple[str, ...] = ()
    uid_base: int = 2_000_000_000
    cgroup: str = ""
    allow_unenforced: bool = False
    linger_s: float = 60.0
    output_total_bytes: int = 64 << 20
    outcome_linger_s: float = 300.0
    usual_memory_bytes: int = 256 << 20
    usual_processes: int = 64
    usual_scratch_bytes: int = 128 << 20


class Jail:
    """One jail from clone() to its last cgroup; the server's record of it."""

    def __init__(self, name: str, slot: int, prestart: str) -> None:
        self.name = name
        self.slot = slot
        self.prestart = prestart
        self.key = ""
        self.give_up_at = math.inf
        self.ready = False
        self.pid = 0
        self.pidfd = -1
        self.limits: list[dict[str, int]] = []
        self.stages: dict[int, cgroups.Stage] = {}
        self.control: socket.socket | None = None
        self.scratch: jail.Scratch | None = None

    def stage_name(self, stage: int) -> str:
        return f"{self.name}.s{stage}"


class Loop(Protocol):
    """What the pool asks of the event loop around it."""

    def watch(self, source: Any, react: Callable[[], None]) -> None: ...

    def unwatch(self, source: Any) -> None: ...

    def jail_is_ready(self) -> None: ...

    def jail_has_ended(self, ended: Jail) -> None: ...

    def jail_has_failed(self, problem: str) -> None: ...


class JailPool:
    """Makes jails ahead of time and hands each out once."""

    def __init__(
        self,
        config: Config,
        groups: cgroups.Cgroups | None,
        uid_base: int | None,
        loop: Loop,
    ) -> None:
        self._config = config
        self._groups = groups
        self._uid_base = uid_base
        self._loop = loop
        self._free_slots = deque(reversed(range(config.max_jails)))
        self._jails: dict[str, Jail] = {}
        self._warm: list[Jail] = []
        self._busy_cgroups: deque[str] = deque()
        # No other server's jail has such a name: its cgroups may outlive a killed one.
        self._names = os.urandom(3).hex()
        self._made = 0
        self._zygote = Zygote(self._mould())
        self._no_refill_before = 0.0

    def _mould(self) -> Mould:
        config, groups = self._config, self._groups
        return Mould(
            rootless=self._uid_base is None,
            cgroup_version=groups.version if groups else 0,
            home=groups.home if groups else (),
            warm={
                key: jail.warm_in_root(key, fields)
                for key, fields in config.prestarts.items()
            },
            bounds=agent.Bounds(
                output_total_bytes=config.output_total_bytes,
                linger_s=config.outcome_linger_s,
            ),
        )

    def __len__(self) -> int:
        return len(self._jails)

    def warm(self) -> dict[str, int]:
        """Return how many jails are ready, by prestart."""
        counts = dict.fromkeys(self._config.warm, 0)
        for one in self._warm:
            if one.ready:
                counts[one.prestart] = counts.get(one.prestart, 0) + 1
        return counts

    # -- handing out --

    def kind(self, prestart: str | None) -> str:
        """Return which jails suit a run: those of its prestart, if there is such."""
        if prestart and prestart in self._config.prestarts:
            return prestart
        return ""

    def take(self, kind: str) -> Jail | None:
        """Hand out a ready jail of this kind; None when one has to be made.

        When none can be made, any does. A plain one does for every program too, but
        costs a fork more than an interpreter that is made for the run.
        """
        ready = [one for one in self._warm if one.ready]
        suited = next((one for one in ready if one.prestart == kind), None)
        if suited is None and ready and not self._free_slots:
            suited = ready[0]
        if suited is not None:
            self._warm.remove(suited)
            self._weigh()
            if self._no_refill_before < time.monotonic():
                # Not put off again and again by one run after the other.
                self._delay_refill(_REFILL_DELAY_S)
        return suited

    def _weigh(self) -> None:
        if self._groups is not None:
            self._groups.weigh(len(self._jails) - len(self._warm))

    def missing(self, kinds: Iterable[str]) -> str | None:
        """Return the first kind of these that no jail on its way is for."""
        coming = [one.prestart for one in self._warm if not one.ready]
        for kind in kinds:
            if kind not in coming:
                return kind
            coming.remove(kind)
        return None

    def prepare(
        self, taken: Jail, limits: list[dict[str, int]], scratch_bytes: int
    ) -> None:
        """Give a jail its run's limits, one pair for each stage. Raises OSError."""
        if taken.scratch is not None and taken.scratch.size_bytes != scratch_bytes:
            taken.scratch.resize(scratch_bytes)
        if 0 in taken.stages:
            taken.stages[0].limit(**limits[0])
        taken.limits = limits

    @staticmethod
    def connect(taken: Jail) -> socket.socket:
        """Return a new connection to a jail's agent.

        Raises BrokenPipeError when the agent has ended, and OSError.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                if taken.control is None:
                    raise BrokenPipeError
                socket.send_fds(taken.control, [jail.FOLLOWER], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
        return ours

    def end_overdue(self) -> None:
        """Kill the jails that are past any time their run could need."""
        now = time.monotonic()
        for one in self._jails.values():
            if now >= one.give_up_at:
                self.kill(one)

    # -- making --

    def refill_in(self) -> float | None:
        """Return after how many seconds refill() has something to do."""
        if self._wanted() is not None:
            return max(0.0, self._no_refill_before - time.monotonic())
        return _RETRY_S if self._busy_cgroups else None

    def refill(self) -> None:
        """Make one warm jail that is missing; remove cgroups that were busy."""
        self._remove_cgroups()
        kind = self._wanted()
        if kind is not None and time.monotonic() >= self._no_refill_before:
            self.make(kind)

    def _wanted(self) -> str | None:
        if not self._free_slots:
            return None
        for kind, count in self._config.warm.items():
            if sum(one.prestart == kind for one in self._warm) < count:
                return kind
        return None

    def _delay_refill(self, seconds: float) -> None:
        delayed = time.monotonic() + seconds
        self._no_refill_before = max(self._no_refill_before, delayed)

    def make(self, kind: str) -> bool:
        """Start one jail; it becomes ready a few milliseconds later.

        False when there are as many as may be (one must end first) or it failed.
        """
        if not self._free_slots:
            return False
        try:
            try:
                self._make(kind)
            except ZygoteLost:
                self._make(kind)  # with another zygote
        except OSError as error:
            self._fail(jail.explain(error, rootless=self._uid_base is None))
            return False
        return True

    def _make(self, kind: str) -> None:
        self._made += 1
        name = f"{self._names}-{self._made}"
        # The one that was freed last: its network lies ready, and there are no others.
        made = Jail(name, self._free_slots.pop(), self.kind(kind))
        try:
            self._start(made)
        except OSError:
            self._clean_up(made)
            raise
        self._jails[made.name] = made
        self._warm.append(made)

    def _start(self, made: Jail) -> None:
        rootless = self._uid_base is None
        uid = jail.ROOTLESS_UID if rootless else (self._uid_base or 0) + made.slot
        identity = jail.Identity(uid, rootless)
        made.scratch = jail.Scratch(self._config.usual_scratch_bytes, identity)
        files = self._first_stage(made)
        made.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        made.control.setblocking(False)
        cast = Cast(
            uid=uid,
            slot=made.slot,
            prestart=made.prestart,
            control=theirs,
            mount_fd=made.scratch.mount_fd,
            stage=files,
        )
        try:
            made.pid = self._zygote.start(cast)
            made.pidfd = self._hold(made.pid)
        finally:
            theirs.close()
            made.scratch.release_mount()
            _close(files)
        self._loop.watch(made.control, lambda: self._hear(made))
        self._loop.watch(made.pidfd, lambda: self._reap(made))

    @staticmethod
    def _hold(pid: int) -> int:
        """Return a pidfd of a jail's first process, or let there be no jail."""
        try:
            return os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    def _first_stage(self, made: Jail) -> cgroups.StageFiles | None:
        if self._groups is None:
            return None
        made.stages[0] = self._groups.create(made.stage_name(0))
        made.stages[0].limit(
            max(self._config.usual_memory_bytes, _WARM_MEMORY_BYTES),
            max(self._config.usual_processes, _WARM_PROCESSES),
        )
        return made.stages[0].open_files()

    # -- what a jail says --

    def _hear(self, made: Jail) -> None:
        if made.control is None:
            return
        try:
            message, fds = linux.receive_fds(made.control, 1024, 4)
        except (ConnectionResetError, BrokenPipeError):
            message, fds = b"", []
        except OSError:
            return  # such as too many open files: it is not to die for that
        if not message:
            self._loop.unwatch(made.control)
            made.control.close()
            made.control = None
        elif message == jail.READY:
            made.ready = True
            self._loop.jail_is_ready()
        elif message.startswith(jail.FAILED):
            self._fail(message[1:].decode(errors="replace"))
        elif len(fds) == 1 and message.startswith(jail.SHRINK.encode()):
            self._shrink(made, message.removeprefix(jail.SHRINK.encode()), fds.pop())
        elif len(fds) == 1:
            self._open_stage(made, message, fds.pop())
        for fd in fds:
            os.close(fd)

    def _fail(self, problem: str) -> None:
        problem = f"no jail can be made: {problem}"
        self._delay_refill(_REFILL_BACKOFF_S)
        print(problem, file=sys.stderr, flush=True)  # noqa: T201 - the server's log
        self._loop.jail_has_failed(problem)

    def _shrink(self, made: Jail, wanted: bytes, reply_fd: int) -> None:
        """Make the scratch folder smaller; larger than it was asked for is refused."""
        problem = ""
        size_bytes = int(wanted) if wanted.isdigit() else 0
        if made.scratch is None or size_bytes <= 0:
            problem = "no such size"
        elif size_bytes < made.scratch.size_bytes:
            try:
                made.scratch.resize(size_bytes)
            except OSError as error:
                problem = str(error)
        jail.answer_shrunk(reply_fd, problem)

    def _open_stage(self, made: Jail, message: bytes, reply_fd: int) -> None:
        """Make the cgroup of a later stage, in order, with the limits of the run."""
        number = int(message) if message.isdigit() else -1
        problem, files = "", None
        if self._groups is None or not 0 <= number < max(1, len(made.limits)):
            problem = "no such stage"
        elif number not in made.stages and number < max(made.stages, default=0):
            problem = "stages count upwards"
        else:
            try:
                files = self._stage_files(self._groups, made, number)
            except OSError as error:
                problem = str(error)
        jail.answer_stage(reply_fd, files, problem)
        _close(files)

    def _stage_files(
        self, groups: cgroups.Cgroups, made: Jail, number: int
    ) -> cgroups.StageFiles:
        if number not in made.stages:
            # The agent may make the next stage ready while one runs, but no more.
            self._end_stages(made, before=number - 1)
            stage = groups.create(made.stage_name(number))
            made.stages[number] = stage
            stage.limit(**made.limits[number])
        return made.stages[number].open_files()

    # -- ending --

    def kill(self, made: Jail) -> None:
        with contextlib.suppress(ValueError):
            self._warm.remove(made)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(made.pidfd, signal.SIGKILL)

    def _reap(self, made: Jail) -> None:
        """Clean up after a jail whose first process, and so every one, has ended."""
        os.waitpid(made.pid, 0)
        self._loop.unwatch(made.pidfd)
        os.close(made.pidfd)
        if made in self._warm:
            self._warm.remove(made)
            self._delay_refill(_REFILL_BACKOFF_S)  # a warm one does not end by itself
        self._jails.pop(made.name, None)
        self._weigh()
        self._clean_up(made)
        self._loop.jail_has_ended(made)

    def _clean_up(self, made: Jail) -> None:
        if made.control is not None:
            with contextlib.suppress(KeyError):
                self._loop.unwatch(made.control)
            made.control.close()
            made.control = None
        if made.scratch is not None:
            made.scratch.close()
        self._end_stages(made)
        self._free_slots.append(made.slot)

    def _end_stages(self, made: Jail, *, before: int | None = None) -> None:
        for number in [n for n in made.stages if before is None or n < before]:
            made.stages.pop(number).close()
            self._busy_cgroups.append(made.stage_name(number))
        self._remove_cgroups()

    def _remove_cgroups(self) -> None:
        for _ in range(len(self._busy_cgroups)):
            name = self._busy_cgroups.popleft()
            if self._groups is not None and not self._groups.remove(name):
                self._busy_cgroups.append(name)

    def end(self) -> None:
        """Kill every jail and leave nothing of them."""
        self._zygote.end()
        for made in list(self._jails.values()):
            self.kill(made)
        for made in list(self._jails.values()):
            poll = select.poll()
            poll.register(made.pidfd, select.POLLIN)
            poll.poll(_END_TIMEOUT_S * 1000)
            self._reap(made)
        deadline = time.monotonic() + _END_TIMEOUT_S
        while self._busy_cgroups and time.monotonic() < deadline:
            self._remove_cgroups()
            time.sleep(_RETRY_S)
        if self._groups is not None:
            self._groups.remove_all()


def _close(files: cgroups.StageFiles | None) -> None:
    if files is not None:
        for fd in (*files.enter, *files.usage):
            os.close(fd)
