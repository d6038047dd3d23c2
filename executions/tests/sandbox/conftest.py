from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from executions.limits import Limits
from executions.runtimes import build, bytecode
from executions.sandbox.base import (
    Backend,
    Case,
    Command,
    Event,
    Finished,
    Outcome,
    RunSpec,
    Session,
    SourceFile,
    StageOutcome,
)
from executions.sandbox.jails import Config, JailBackend
from executions.sandbox.plain import PlainBackend

PRESTARTS = bytecode.added_to(build.prestarts(Limits()))
# A busy machine is no program's fault: a test sets the limits that it is about.
AMPLE = Limits(cpu_time_ms=30_000, wall_time_ms=60_000)
_numbers = itertools.count()


def spec(
    source: str | bytes = b"",
    *,
    name: str = "main.py",
    argv: tuple[str, ...] = ("python3", "main.py"),
    limits: dict[str, int] | None = None,
    env: dict[str, str] | None = None,
    **fields: Any,
) -> RunSpec:
    """Return a run of one source file, Python unless told otherwise."""
    content = source.encode() if isinstance(source, str) else source
    files = fields.pop("files", (SourceFile(name, content),))
    key = fields.pop("key", f"test-{os.getpid()}-{next(_numbers)}")
    return RunSpec(
        key=key,
        files=files,
        run=Command(argv, AMPLE.with_(**(limits or {})), env or {}),
        **fields,
    )


def in_python(code: str, **limits: int) -> Command:
    """Return a command that runs `code`, such as a stand-in for a compiler."""
    return Command(("python3", "-c", code), AMPLE.with_(**limits))


def finish(session: Session) -> tuple[Outcome, list[Event]]:
    """Follow a run to its end and acknowledge it."""
    events = list(session.events())
    session.acknowledge()
    last = events[-1]
    assert isinstance(last, Finished)
    return last.outcome, events


class Runner:
    """Runs programs in the backend at hand."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @property
    def is_confined(self) -> bool:
        return isinstance(self.backend, JailBackend)

    def start(self, *args: Any, **kwargs: Any) -> Session:
        return self.backend.start(spec(*args, **kwargs))

    def outcome(self, *args: Any, **kwargs: Any) -> Outcome:
        return finish(self.start(*args, **kwargs))[0]

    def case(self, *args: Any, stdin: bytes = b"", **kwargs: Any) -> StageOutcome:
        """Run a program with one case and return how that went."""
        cases = (Case(stdin, tuple(kwargs.pop("args", ()))),)
        outcome = self.outcome(*args, cases=cases, **kwargs)
        (case,) = outcome.cases
        return case


@pytest.fixture(scope="session")
def plain_backend() -> Iterator[PlainBackend]:
    backend = PlainBackend(PRESTARTS)
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def jail_backend() -> Iterator[JailBackend]:
    state = tempfile.mkdtemp(prefix="agent-state-")
    backend = JailBackend(
        state, Config(warm={"": 1, "python": 1}, linger_s=1), PRESTARTS
    )
    yield backend
    backend.close()
    shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(params=["plain", pytest.param("jail", marks=pytest.mark.jail)])
def runner(request: pytest.FixtureRequest) -> Runner:
    """Every test that asks for this runs without confinement and in a real jail."""
    return Runner(request.getfixturevalue(f"{request.param}_backend"))


@pytest.fixture
def make_plain() -> Iterator[Callable[..., PlainBackend]]:
    """Return a function that makes a plain backend of the test's own."""
    made: list[PlainBackend] = []

    def make(**kwargs: Any) -> PlainBackend:
        made.append(PlainBackend(PRESTARTS, **kwargs))
        return made[-1]

    yield make
    for backend in made:
        backend.close()
