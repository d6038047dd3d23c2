"""What a sandbox is, whatever it is made of.

A Backend starts a sandbox for one run and hands out a Session, through which the worker
follows it. Jails on one machine, pods and the fake for tests all stand behind these two
protocols; nothing here knows Django.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from executions.limits import Limits


class SandboxError(Exception):
    """The platform failed, and it is unknown whether the program ran."""


class SandboxUnavailable(SandboxError):
    """Nothing ran: it is safe to try again, here or elsewhere."""


class NoSandboxNow(SandboxUnavailable):
    """None can be had at the moment, whatever the program: ask again later."""


class SandboxBroken(SandboxUnavailable):
    """Nor will a later try do better, as the platform's own settings are wrong."""


class SandboxGone(SandboxError):
    """The sandbox of this run no longer exists and cannot give an outcome any more."""


class NeverStarted(SandboxGone):
    """Nor had it ever started: nothing ran under this key, and nothing will."""


class SandboxDetached(SandboxError):
    """This follower let go (see Session.detach); the program goes on."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the program; `path` is relative, with forward slashes."""

    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Command:
    """What one stage executes, in the scratch folder, with nothing but `env` added."""

    argv: tuple[str, ...]
    limits: Limits
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One execution of the built program: its input and its extra arguments."""

    stdin: bytes = b""
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunSpec:
    """All that a sandbox is told about a run.

    `key` names the attempt (`<execution>-<attempt>`); a sandbox accepts one key only.
    `prestart` names a warm interpreter that may run it (see runtimes.base.Prestart),
    `profile` the size of a pod that has room for it.
    With `interactive`, stdin stays open after the case's own until close_stdin.
    """

    key: str
    files: tuple[SourceFile, ...]
    run: Command
    compile: Command | None = None
    cases: tuple[Case, ...] = (Case(),)
    prestart: str | None = None
    profile: str = "small"
    interactive: bool = False


class End(StrEnum):
    """Why a stage ended, as its supervisor (never the program) saw it."""

    EXITED = "exited"  # exit_code is set
    SIGNALLED = "signalled"  # signal is set, and not by us
    CPU_TIME = "cpu_time"
    WALL_TIME = "wall_time"
    MEMORY = "memory"
    OUTPUT = "output"  # past the hard total, killed
    CANCELLED = "cancelled"
    FAILED = "failed"  # could not be started: `message` says why


@dataclass(frozen=True, slots=True)
class Output:
    """One stream, cut at output_bytes: `head`, `dropped_bytes` lost, then `tail`."""

    head: bytes = b""
    tail: bytes = b""
    dropped_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return len(self.head) + self.dropped_bytes + len(self.tail)


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """How one stage (compile, or run of one case) went.

    cpu_time_ms covers the whole process tree, memory_peak_bytes its peak; `measured_by`
    is "cgroup" or "rusage" (then a tree's peak is only its largest process's).
    first_output_ms is None when nothing was written. `limits` are those applied.
    `message` says why it could not be started, or what else led to its end.
    """

    end: End
    limits: Limits
    exit_code: int | None = None
    signal: int | None = None
    cpu_time_ms: int = 0
    wall_time_ms: int = 0
    memory_peak_bytes: int = 0
    first_output_ms: int | None = None
    stdout: Output = field(default_factory=Output)
    stderr: Output = field(default_factory=Output)
    measured_by: str = "cgroup"
    message: str = ""
    is_program_fault: bool = False  # of FAILED: what was submitted cannot be started


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run; `cases` is empty when the build failed or was cancelled.

    `unenforced` names the limits that this sandbox could not enforce (see
    SANDBOX_ALLOW_UNENFORCED_LIMITS).
    """

    compile: StageOutcome | None
    cases: tuple[StageOutcome, ...]
    unenforced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage began; `case` is None while compiling."""

    stage: str  # "compile" or "run"
    case: int | None = None


@dataclass(frozen=True, slots=True)
class OutputChunk:
    """Bytes of one stream as they appeared; `offset` counts from the stage's start."""

    stage: str
    case: int | None
    stream: str  # "stdout" or "stderr"
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a run."""

    outcome: Outcome


Event = StageStarted | OutputChunk | Finished


class Session(Protocol):
    """One follower's connection to the sandbox of one run.

    `events` is read by one thread; the other methods may be called from any thread.
    """

    def events(self) -> Iterator[Event]:
        """Yield what happens, blocking, up to and including Finished.

        Raises SandboxGone when the sandbox dies first and SandboxDetached after detach.
        """

    def send_stdin(self, data: bytes) -> None: ...

    def close_stdin(self) -> None: ...

    def signal(self, number: int) -> None: ...

    def cancel(self) -> None:
        """Kill the program; Finished follows, with the output so far."""

    def acknowledge(self) -> None:
        """Tell the sandbox that its outcome is stored, and close the session."""

    def detach(self) -> None:
        """Stop following; the program goes on and another may attach."""


Wanted = Callable[[], bool]
"""Whether a sandbox is still wanted by who asked for it; may be called often."""


def always() -> bool:
    """Be the Wanted of who does not change its mind."""
    return True


ANYWHERE: Final = "pods:"
"""How the scopes begin whose sandboxes are on no machine of a worker's."""


def scope_of_pods(namespace: str) -> str:
    """Return the scope of who can reach the pods of a namespace."""
    return f"{ANYWHERE}{namespace}"


class Backend(Protocol):
    """Starts sandboxes. One instance serves all threads of a worker."""

    scope: str
    """Names what this worker can reach, such as one machine's fork server. A run's row
    keeps it from the claim on; who has the same scope may attach."""

    def start(self, spec: RunSpec, is_wanted: Wanted = always) -> Session:
        """Start the run in a fresh sandbox, warm if one is ready.

        Raises SandboxUnavailable when nothing ran, SandboxError when that is unknown. A
        backend whose sandboxes take their time asks `is_wanted` meanwhile, and once
        more before it sends the program; after a no it raises SandboxDetached, nothing
        ran, and the key is to be discarded.
        """

    def attach(self, key: str, is_wanted: Wanted = always) -> Session:
        """Follow the run that was started under `key`; all its events are replayed.

        Raises SandboxGone when no sandbox has that key, and from then on refuses to
        start it: an owner that was paused cannot start it late. One that is known not
        to have started is ended for that: NeverStarted. Raises
        SandboxUnavailable when the sandboxes of this scope cannot be asked right now,
        and SandboxDetached as start() does.
        """

    def held(self) -> list[str]:
        """Return the keys that sandboxes of this scope hold, ended or not.

        Raises SandboxUnavailable when they cannot be asked right now.
        """

    def discard(self, key: str) -> None:
        """End the sandbox of this key, if there is one, with all that it holds.

        From then on the key is refused. What cannot be reached is left alone.
        """

    def problems(self) -> list[str]:
        """Return, in plain words, what keeps this backend from running programs.

        Raises NoSandboxNow while that cannot be told, as who knows it is away.
        """

    def close(self) -> None: ...
