"""A sandbox for unit tests: nothing runs, the test decides what happens.

sandbox = FakeSandbox()
sandbox.script(finished(stdout=b"42\\n"))      # the next start() ends like this
sandbox.script(SandboxUnavailable("no room"))  # the one after is refused
sandbox.script(HOLD)                           # this one runs until the test says so
...
sandbox.run("<key>").emit(b"hello"); sandbox.run("<key>").finish(finished())
sandbox.kill()                                 # every sandbox dies: SandboxGone
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import NoReturn

from executions.limits import Limits
from executions.sandbox.base import (
    End,
    Event,
    Finished,
    NeverStarted,
    Outcome,
    Output,
    OutputChunk,
    RunSpec,
    SandboxDetached,
    SandboxError,
    SandboxGone,
    SandboxUnavailable,
    StageOutcome,
    StageStarted,
    Wanted,
    always,
)


class Hold(Enum):
    """HOLD: the run goes on until the test ends it. NEVER: it does not even begin."""

    HOLD = "hold"
    NEVER = "never"


HOLD = Hold.HOLD
NEVER = Hold.NEVER

Script = Outcome | SandboxError | Hold


def stage(  # noqa: PLR0913 - a stage has that many independent properties
    *,
    end: End = End.EXITED,
    exit_code: int | None = 0,
    stdout: bytes = b"",
    stderr: bytes = b"",
    signal: int | None = None,
    limits: Limits | None = None,
    message: str = "",
) -> StageOutcome:
    """Return the outcome of one stage with plausible measurements."""
    return StageOutcome(
        end=end,
        limits=limits or Limits(),
        exit_code=exit_code if end is End.EXITED else None,
        signal=signal,
        cpu_time_ms=12,
        wall_time_ms=15,
        memory_peak_bytes=8_000_000,
        first_output_ms=10 if stdout or stderr else None,
        stdout=Output(stdout),
        stderr=Output(stderr),
        message=message,
    )


def finished(
    *,
    end: End = End.EXITED,
    exit_code: int | None = 0,
    stdout: bytes = b"",
    stderr: bytes = b"",
    signal: int | None = None,
) -> Outcome:
    """Return the outcome of a run of one case without a compile stage."""
    case = stage(
        end=end, exit_code=exit_code, stdout=stdout, stderr=stderr, signal=signal
    )
    return Outcome(compile=None, cases=(case,))


class FakeRun:
    """One scripted run; its methods are the test's hands, callable from any thread."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec
        self.stdin = bytearray()
        self.is_stdin_closed = False
        self.signals: list[int] = []
        self.is_cancelled = False
        self.is_acknowledged = False
        self.followers = 0
        self.log: list[Event] = [StageStarted("run", 0)]
        self.is_dead = False
        self.changed = threading.Condition()
        self._written = {"stdout": 0, "stderr": 0}
        self._output = {"stdout": b"", "stderr": b""}

    def emit(self, data: bytes, stream: str = "stdout") -> None:
        """Let the program write `data`."""
        with self.changed:
            offset = self._written[stream]
            self._written[stream] += len(data)
            self._output[stream] += data
            self.log.append(OutputChunk("run", 0, stream, offset, data))
            self.changed.notify_all()

    def finish(self, outcome: Outcome) -> None:
        """End the run; later calls are ignored."""
        with self.changed:
            if not self.is_finished:
                self.log.append(Finished(outcome))
            self.changed.notify_all()

    def die(self) -> None:
        """Let the sandbox vanish: followers get SandboxGone."""
        with self.changed:
            self.is_dead = True
            self.changed.notify_all()

    def cancel(self) -> None:
        self.is_cancelled = True
        self.finish(
            finished(
                end=End.CANCELLED,
                stdout=self._output["stdout"],
                stderr=self._output["stderr"],
            )
        )

    @property
    def is_finished(self) -> bool:
        return isinstance(self.log[-1], Finished)

    def wait_for_follower(self, timeout_s: float = 5.0) -> bool:
        """Block until a session reads the events; return whether one does."""
        with self.changed:
            return self.changed.wait_for(lambda: self.followers > 0, timeout_s)


class FakeSession:
    """A follower of a FakeRun."""

    def __init__(self, run: FakeRun) -> None:
        self._run = run
        self._is_detached = False

    def events(self) -> Iterator[Event]:
        run, position = self._run, 0
        with run.changed:
            run.followers += 1
            run.changed.notify_all()
        try:
            while True:
                event = self._next(position)
                position += 1
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            with run.changed:
                run.followers -= 1

    def _next(self, position: int) -> Event:
        run = self._run
        with run.changed:
            run.changed.wait_for(
                lambda: self._is_detached or run.is_dead or len(run.log) > position
            )
            if self._is_detached:
                raise SandboxDetached(run.spec.key)
            if run.is_dead:
                raise SandboxGone(run.spec.key)
            return run.log[position]

    def send_stdin(self, data: bytes) -> None:
        self._run.stdin += data

    def close_stdin(self) -> None:
        self._run.is_stdin_closed = True

    def signal(self, number: int) -> None:
        self._run.signals.append(number)

    def cancel(self) -> None:
        self._run.cancel()

    def acknowledge(self) -> None:
        self._run.is_acknowledged = True

    def detach(self) -> None:
        with self._run.changed:
            self._is_detached = True
            self._run.changed.notify_all()


class FakeSandbox:
    """A Backend whose runs follow the test's script.

    Without a script a run exits with 0 and no output at once. `runs` holds every run
    that was started, by key; a killed or acknowledged one cannot be attached to.
    """

    def __init__(self, scope: str = "fake") -> None:
        self.scope = scope
        self.runs: dict[str, FakeRun] = {}
        self.waiting: list[str] = []
        self.discarded: list[str] = []
        self.is_unreachable = False
        self.is_closed = False
        self.problem_list: list[str] = []
        self._scripts: deque[Script] = deque()
        self._fenced: set[str] = set()
        self._lock = threading.Lock()

    def script(self, *scripts: Script) -> None:
        """Say how the next runs go, in the order in which they start."""
        self._scripts.extend(scripts)

    def run(self, key: str) -> FakeRun:
        return self.runs[key]

    def kill(self) -> None:
        """Let every sandbox die, as when the machine went down."""
        for run in self.runs.values():
            run.die()

    def start(self, spec: RunSpec, is_wanted: Wanted = always) -> FakeSession:
        with self._lock:
            if self.is_unreachable or spec.key in self._fenced:
                raise SandboxUnavailable(spec.key)
            if spec.key in self.runs:
                raise SandboxError(f"{spec.key} was started before")
            script = self._scripts.popleft() if self._scripts else finished()
            if isinstance(script, SandboxError):
                raise script
            self.waiting.append(spec.key)
        if script is NEVER:
            self._wait_in_vain(spec.key, is_wanted)
        with self._lock:
            self.waiting.remove(spec.key)
            run = self.runs[spec.key] = FakeRun(spec)
        if isinstance(script, Outcome):
            for case in script.cases[:1]:
                if case.stdout.head:
                    run.emit(case.stdout.head)
                if case.stderr.head:
                    run.emit(case.stderr.head, "stderr")
            run.finish(script)
        return FakeSession(run)

    def _wait_in_vain(self, key: str, is_wanted: Wanted) -> NoReturn:
        while is_wanted():
            if key in self._fenced:
                raise SandboxUnavailable(key)
            time.sleep(0.01)
        raise SandboxDetached(key)

    def attach(self, key: str, is_wanted: Wanted = always) -> FakeSession:
        with self._lock:
            if self.is_unreachable:
                raise SandboxUnavailable("the fake sandbox is unreachable")
            if key in self.waiting:
                self._fenced.add(key)
                raise NeverStarted(key)
            run = self.runs.get(key)
            if run is None or run.is_dead or run.is_acknowledged:
                self._fenced.add(key)
                raise SandboxGone(key)
            return FakeSession(run)

    def held(self) -> list[str]:
        return [
            key
            for key, run in self.runs.items()
            if not (run.is_dead or run.is_acknowledged)
        ]

    def discard(self, key: str) -> None:
        with self._lock:
            self._fenced.add(key)
            self.discarded.append(key)
            run = self.runs.get(key)
        if run is not None:
            run.die()

    def problems(self) -> list[str]:
        return list(self.problem_list)

    def close(self) -> None:
        self.is_closed = True
