"""One stage of a run as the agent supervises it: streams, clocks, limits, the end.

Part of the agent: standard library only, single-threaded, never blocking but for the
killing at the end.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from executions.sandbox.capture import Capture
from executions.sandbox.launcher import CannotStart, Child

_READ_BYTES = 64 * 1024
_SMALL_BYTES = 4 * 1024
_PAUSE_S = 0.002
"""How long a stream rests after it gave little: the pipe holds what comes meanwhile."""
_OFTEN_S = 0.01
"""Two small reads in this time make a stream rest; one alone costs no turn for it."""
_SHORTEST_POLL_S = 0.002
_LONGEST_NEAR_POLL_S = 0.02
_LONGEST_POLL_S = 0.5
_LONGEST_FULL_POLL_S = 0.05
# The kernel lets every TCP connection hold at least one segment, whatever the limit.
_EXCESS_MEMORY = 1.25
_KILL_TIMEOUT_S = 10.0
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """What a stage has used so far, all its processes together, since it was made."""

    cpu_ns: int
    memory_peak_bytes: int
    memory_bytes: int
    oom_kills: int
    processes_refused: int


class Measuring(Protocol):
    samples_memory: bool

    def usage(self, stage: int) -> Usage | None: ...


class Poller(Protocol):
    """The agent's event loop, as a stage needs it."""

    def watch(self, fd: int, events: int, ready: Callable[[], object]) -> None: ...

    def unwatch(self, fd: int) -> None: ...

    def news(self) -> None:
        """Take note that there is something for the follower."""


class Stage(NamedTuple):
    """What a stage is: its place in the run and what to start."""

    n: int
    name: str
    case: int | None
    argv: list[str]
    env: dict[str, str]
    limits: dict[str, int]
    stdin: bytes
    is_interactive: bool


def rlimits(limits: Mapping[str, int], *, with_processes: bool) -> list[list[int]]:
    """Return the resource limits that go with a stage's limits.

    The CPU time is only a backstop for where the tree's time is not visible: it counts
    each process alone, in whole seconds.
    """
    values = [
        [resource.RLIMIT_FSIZE, limits["file_bytes"]],
        [resource.RLIMIT_STACK, limits["stack_bytes"]],
        [resource.RLIMIT_CPU, math.ceil(limits["cpu_time_ms"] / 1000) + 1],
    ]
    if with_processes:
        values.append([resource.RLIMIT_NPROC, limits["max_processes"]])
    return values


class Supervision:
    """Runs one stage in a waiting child and ends with `result`, a result's stage.

    The agent calls tick() whenever the loop turns and not later than wake_at(), and
    reaped() for the child's end; is_over tells when nothing is left to do but finish().
    """

    def __init__(
        self,
        stage: Stage,
        loop: Poller,
        confinement: Measuring,
        *,
        output_total_bytes: int,
        is_init: bool,
    ) -> None:
        self.stage = stage
        self.captures = {
            "stdout": Capture(stage.limits["output_bytes"]),
            "stderr": Capture(stage.limits["output_bytes"]),
        }
        self.is_over = False
        self.is_finished = False
        self._loop = loop
        self._confinement = confinement
        self._output_left = output_total_bytes
        self._is_init = is_init
        self._child: Child | None = None
        self._stdin = bytearray(stage.stdin)
        self._is_stdin_open = True
        self._is_stdin_ending = not stage.is_interactive
        self._streams: dict[int, str] = {}
        self._resting: list[int] = []
        self._resume_at = math.inf
        self._small_at = -math.inf
        self._status: int | None = None
        self._end = ""
        self._failure: CannotStart | None = None
        self.started_at = time.monotonic()
        self._first_output_at: float | None = None
        self._wall_at = math.inf
        self._usage_at = math.inf
        self._near_poll_s = _SHORTEST_POLL_S
        self._longest_poll_s = (
            _LONGEST_FULL_POLL_S if confinement.samples_memory else _LONGEST_POLL_S
        )
        self._cores = len(os.sched_getaffinity(0))
        self._before: Usage | None = None
        self._cpu_before_ns = 0
        self._last_cpu_ns = 0
        self._cpu_limit_ns = stage.limits["cpu_time_ms"] * 1_000_000
        self._memory_bytes = stage.limits["memory_bytes"]

    # --- start ---------------------------------------------------------------------

    def start(self, child: Child, env: Mapping[str, str], *, nproc: bool) -> None:
        """Give `child` the program. Sets is_over when that cannot be done."""
        self._child = child
        stage = self.stage
        self._write_stdin()
        self._before = self._confinement.usage(stage.n)
        self._cpu_before_ns = self._counted_cpu_ns(self._before)
        orders = {
            "argv": stage.argv,
            "env": {**env, **stage.env},
            "rlimits": rlimits(stage.limits, with_processes=nproc),
        }
        self.started_at = time.monotonic()
        try:
            child.start(orders)
        except CannotStart as failure:
            self.fail(failure)
            return
        self._wall_at = self.started_at + stage.limits["wall_time_ms"] / 1000
        self._plan_usage(0)
        for fd, name in ((child.stdout, "stdout"), (child.stderr, "stderr")):
            self._streams[fd] = name
            self._watch(fd)

    def fail(self, failure: CannotStart) -> None:
        """Let the stage end as one that could not be started."""
        self._failure = failure
        self._stop("failed")

    # --- streams -------------------------------------------------------------------

    def _watch(self, fd: int) -> None:
        self._loop.watch(fd, select.POLLIN, functools.partial(self._read, fd))

    def _rest(self, fd: int, now: float) -> None:
        """Leave the stream alone for a moment: byte-wise writers then cost little."""
        self._loop.unwatch(fd)
        self._resting.append(fd)
        self._resume_at = min(self._resume_at, now + _PAUSE_S)

    def _resume(self) -> None:
        self._resume_at = math.inf
        for fd in self._resting:
            if fd in self._streams:
                self._watch(fd)
        self._resting.clear()

    def _read(self, fd: int) -> bool:
        """Read once from the stream `fd`; return whether there may be more."""
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._loop.unwatch(fd)
            del self._streams[fd]
            return False
        now = time.monotonic()
        if self._first_output_at is None:
            self._first_output_at = now
        self.captures[self._streams[fd]].write(data)
        self._loop.news()
        self._output_left -= len(data)
        if self._output_left < 0:
            self._stop("output")
        if len(data) < _SMALL_BYTES and not self.is_over:
            if now - self._small_at < _OFTEN_S:
                self._rest(fd, now)
            self._small_at = now
        return True

    def give_stdin(self, data: bytes) -> None:
        """Pass on live input; what the program no longer reads is dropped."""
        if self._is_stdin_open and not self._is_stdin_ending:
            self._stdin += data
            self._write_stdin()

    def close_stdin(self) -> None:
        """Give the program its end of file once it has read what there is."""
        self._is_stdin_ending = True
        self._write_stdin()

    @property
    def stdin_waiting_bytes(self) -> int:
        return len(self._stdin)

    def _write_stdin(self) -> None:
        if not self._is_stdin_open or self._child is None:
            return
        fd = self._child.stdin
        try:
            while self._stdin:
                del self._stdin[: os.write(fd, self._stdin)]
                if self.stage.is_interactive:
                    self._loop.news()
        except BlockingIOError:
            self._loop.watch(fd, select.POLLOUT, self._write_stdin)
            return
        except OSError:
            self._drop_stdin()
            return
        if self._is_stdin_ending:
            self._drop_stdin()
        else:
            self._loop.unwatch(fd)

    def _drop_stdin(self) -> None:
        """Close our end: all is written, or nobody reads it any more."""
        if self._is_stdin_open and self._child is not None:
            self._is_stdin_open = False
            self._stdin.clear()
            self._loop.unwatch(self._child.stdin)
            os.close(self._child.stdin)
            self._child.stdin = -1

    # --- clocks and limits ---------------------------------------------------------

    def wake_at(self) -> float:
        if self.is_over:
            return 0.0
        return min(self._wall_at, self._usage_at, self._resume_at)

    def tick(self, now: float) -> None:
        """Check what is due; may set is_over."""
        if self.is_over:
            return
        if now >= self._resume_at:
            self._resume()
        if now >= self._wall_at:
            self._stop("wall_time")
        elif now >= self._usage_at:
            self._check_usage()

    def _check_usage(self) -> None:
        usage = self._confinement.usage(self.stage.n)
        cpu_ns = self._cpu_ns(usage)
        if self._oom_kills(usage) or self._holds_too_much(usage):
            self._stop("memory")
        elif cpu_ns > self._cpu_limit_ns:
            self._stop("cpu_time")
        else:
            near = usage is not None and usage.memory_bytes > self._memory_bytes / 2
            self._plan_usage(cpu_ns, _LONGEST_FULL_POLL_S if near else None)

    def _plan_usage(self, cpu_ns: int, longest: float | None = None) -> None:
        """Look again when the limit could be reached at the earliest, or a bit later.

        A program that sleeps just below its limit is asked ever more seldom.
        """
        if cpu_ns > self._last_cpu_ns:
            self._near_poll_s = _SHORTEST_POLL_S
        else:
            self._near_poll_s = min(2 * self._near_poll_s, _LONGEST_NEAR_POLL_S)
        self._last_cpu_ns = cpu_ns
        earliest = (self._cpu_limit_ns - cpu_ns) / 1e9 / self._cores
        longest = longest or self._longest_poll_s
        delay = min(max(earliest, self._near_poll_s), longest)
        self._usage_at = time.monotonic() + delay

    def _oom_kills(self, usage: Usage | None) -> bool:
        before = self._before.oom_kills if self._before else 0
        return usage is not None and usage.oom_kills > before

    def _holds_too_much(self, usage: Usage | None) -> bool:
        """Tell whether memory got past the limit where the kernel lets it."""
        if usage is None:
            return False
        if self._confinement.samples_memory:
            return usage.memory_peak_bytes > self._memory_bytes
        return usage.memory_bytes > self._memory_bytes * _EXCESS_MEMORY

    def _cpu_ns(self, usage: Usage | None) -> int:
        return max(0, self._counted_cpu_ns(usage) - self._cpu_before_ns)

    def _counted_cpu_ns(self, usage: Usage | None) -> int:
        if usage is not None:
            return usage.cpu_ns
        return _children_cpu_ns() + tree_cpu_ns(is_init=self._is_init)

    # --- the end -------------------------------------------------------------------

    def reaped(self, pid: int, status: int) -> None:
        """Take note of an ended process; the main one ends the stage."""
        if self._child is not None and pid == self._child.pid:
            self._status = status
            self._stop("")

    def signal(self, number: int) -> None:
        """Send a signal to the program's process group."""
        if self._child is not None and self._status is None and not self.is_over:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, number)

    def cancel(self) -> None:
        self._stop("cancelled")

    def _stop(self, end: str) -> None:
        if not self.is_over:
            self.is_over = True
            self._end = end
            self._ended_at = time.monotonic()

    def finish(self, spare: Child | None = None) -> dict[str, Any]:
        """Kill what is left but `spare`, take the last output, return the result."""
        for pid, status in kill_all(is_init=self._is_init, spare=spare):
            if self._child is not None and pid == self._child.pid:
                self._status = status
        for fd in list(self._streams):
            # Every writer is dead (or, without a pid namespace, not ours any more).
            while fd in self._streams and self._read(fd):
                pass
            if self._streams.pop(fd, None):
                self._loop.unwatch(fd)
        self._drop_stdin()
        for capture in self.captures.values():
            capture.finish()
        if self._child is not None:
            if self._failure is None:
                self._failure = self._child.failure()
            self._child.close()
        self.is_finished = True
        return self._result(self._confinement.usage(self.stage.n))

    def _result(self, usage: Usage | None) -> dict[str, Any]:
        cpu_ns = self._cpu_ns(usage)
        end = self._final_end(usage, cpu_ns)
        status = self._status or 0
        first = self._first_output_at
        peak = (usage and usage.memory_peak_bytes) or _children_peak_bytes()
        return {
            "stage": self.stage.name,
            "case": self.stage.case,
            "end": end,
            "exit_code": os.WEXITSTATUS(status) if end == "exited" else None,
            "signal": os.WTERMSIG(status) if end == "signalled" else None,
            "cpu_time_ms": cpu_ns // 1_000_000,
            "wall_time_ms": _ms(self._ended_at - self.started_at),
            "memory_peak_bytes": peak,
            "first_output_ms": None if first is None else _ms(first - self.started_at),
            "stdout": self.captures["stdout"].kept(),
            "stderr": self.captures["stderr"].kept(),
            "measured_by": "cgroup" if usage else "rusage",
            "message": self._message(usage, end),
            "is_program_fault": end == "failed"
            and self._failure is not None
            and self._failure.is_program_fault,
            "limits": self.stage.limits,
        }

    def _message(self, usage: Usage | None, end: str) -> str:
        if end == "failed":
            return str(self._failure)[:1000]
        before = self._before.processes_refused if self._before else 0
        if usage is not None and usage.processes_refused > before:
            limit = self.stage.limits["max_processes"]
            return f"it asked for more than {limit} processes"
        return ""

    def _final_end(  # noqa: PLR0911 - a table, first match wins
        self, usage: Usage | None, cpu_ns: int
    ) -> str:
        if self._end == "cancelled":
            return self._end
        if self._failure is not None:
            return "failed"
        # A program may outrun the last look at its usage: what counts is what it used.
        if self._oom_kills(usage):
            return "memory"
        if self._confinement.samples_memory and self._holds_too_much(usage):
            return "memory"
        if self._end:
            return self._end
        if self._output_left < 0:
            return "output"
        if cpu_ns > self._cpu_limit_ns:
            return "cpu_time"
        if self._status is not None and os.WIFSIGNALED(self._status):
            return "signalled"
        return "exited"


def _ms(seconds: float) -> int:
    return max(0, int(seconds * 1000))


def _children_cpu_ns() -> int:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((used.ru_utime + used.ru_stime) * 1e9)


def _children_peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


# --- processes -----------------------------------------------------------------------


def tree_cpu_ns(*, is_init: bool) -> int:
    """Return the CPU time of the living tree, with what its members have reaped."""
    return sum(cpu_ns for _, cpu_ns in _tree(is_init=is_init).values())


def _tree(*, is_init: bool) -> dict[int, tuple[int, int]]:
    """Return parent and CPU nanoseconds of every process below this one, by pid."""
    found: dict[int, tuple[int, int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                found[int(name)] = _parent_and_cpu_ns(int(name))
    own = os.getpid()
    if is_init:
        found.pop(own, None)
        return found
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in found.items():
        children.setdefault(parent, []).append(pid)
    below: dict[int, tuple[int, int]] = {}
    pending = [own]
    while pending:
        for pid in children.get(pending.pop(), ()):
            below[pid] = found[pid]
            pending.append(pid)
    return below


def _parent_and_cpu_ns(pid: int) -> tuple[int, int]:
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name in parentheses may hold anything, so count from its end.
        fields = file.read().rpartition(b")")[2].split()
    # The process's CPU clock (see clock_getcpuclockid(3)) is exact, its ticks are not.
    own_ns = time.clock_gettime_ns(~pid << 3 | 2)
    return int(fields[1]), own_ns + sum(map(int, fields[13:15])) * _TICK_NS


def kill_all(*, is_init: bool, spare: Child | None = None) -> list[tuple[int, int]]:
    """Kill every process below this one until none is left; return (pid, status)s.

    As PID 1 that is everything in the pid namespace, at one stroke, so that no fork
    escapes; the launcher `spare`, which strikes then, is left alive if it can.
    Elsewhere it is every descendant (this process must be a subreaper), again and
    again. Gives up after 10 s, as an uninterruptible process would never die.
    """
    reaped: list[tuple[int, int]] = []
    pause_s = 0.0002
    give_up_at = time.monotonic() + _KILL_TIMEOUT_S
    while time.monotonic() < give_up_at:
        if not _is_any_left(reaped, spare):
            break
        if not is_init:
            for pid in _tree(is_init=False):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        elif spare is None or not spare.kill_others():
            spare = None
            _kill_namespace()
        if not _is_any_left(reaped, spare):
            break
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.01)
    return reaped


def _is_any_left(reaped: list[tuple[int, int]], spare: Child | None) -> bool:
    """Reap what has ended; return whether there are processes besides `spare`."""
    has_children = reap(reaped)
    if spare is None or not has_children:
        return has_children
    known = {"1", str(spare.pid)}
    return any(name.isdigit() and name not in known for name in os.listdir("/proc"))


def _kill_namespace() -> None:
    # Outside a pid namespace of our own this would end the machine's every process.
    if os.getpid() != 1:
        raise RuntimeError("only PID 1 may signal everything")
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)


def reap(reaped: list[tuple[int, int]]) -> bool:
    """Add what has ended to `reaped`; return whether children are left."""
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return True
            reaped.append((pid, status))
    except ChildProcessError:
        return False
