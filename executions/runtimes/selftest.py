"""Runs a runtime's own small program in a sandbox and judges what came out."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from executions import limits, runtimes
from executions.limits import MIB, Limits
from executions.runtimes import build, probe
from executions.runtimes.base import Runtime
from executions.runtimes.probe import Probe
from executions.sandbox.base import (
    Backend,
    Command,
    End,
    Finished,
    Outcome,
    RunSpec,
    SandboxError,
    SourceFile,
    StageOutcome,
)
from executions.sandbox.manifests import RUNTIMES_FILE

SHOWN_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Allowed:
    """The defaults and maxima that a self-test runs with, as any program would."""

    run: Limits
    run_maximum: Limits
    compile: Limits
    compile_maximum: Limits


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one self-test; `problem` is "" when it passed.

    compile_ms and run_ms are wall time as the sandbox measured it, total_ms as the
    caller of the sandbox did; all are None when nothing ran.
    """

    runtime: Runtime
    version: str = ""
    is_available: bool = True
    problem: str = ""
    compile_ms: int | None = None
    run_ms: int | None = None
    total_ms: int | None = None
    cpu_ms: int | None = None
    memory_peak_bytes: int | None = None

    @property
    def verdict(self) -> str:
        if not self.is_available:
            return "unavailable"
        return "failed" if self.problem else "ok"


def run(backend: Backend, found: Probe, allowed: Allowed) -> Result:
    """Run the self-test of one runtime, if its toolchain was found.

    Blocks for as long as the program may take. A sandbox that fails is a failed
    self-test, not an exception.
    """
    runtime = found.runtime
    if not found.is_available:
        return Result(runtime, is_available=False, problem=found.problem)
    began = time.monotonic()
    try:
        outcome = outcome_of(backend, spec(runtime, runtime.selftest.encode(), allowed))
    except SandboxError as error:
        return Result(runtime, found.version, problem=f"the sandbox failed: {error}")
    stages = [stage for stage in (outcome.compile, *outcome.cases) if stage]
    return Result(
        runtime,
        found.version,
        problem=problem_of(outcome, runtime.selftest_stdout),
        compile_ms=outcome.compile.wall_time_ms if outcome.compile else None,
        run_ms=outcome.cases[0].wall_time_ms if outcome.cases else None,
        total_ms=round((time.monotonic() - began) * 1000),
        cpu_ms=sum(stage.cpu_time_ms for stage in stages),
        memory_peak_bytes=max((s.memory_peak_bytes for s in stages), default=None),
    )


class Images:
    """What the images of a backend's pods have; each is asked once, in a pod.

    Raises SandboxError when an image cannot say.
    """

    def __init__(self, backend: Backend) -> None:
        profiles = {runtime.profile for runtime in runtimes.all()}
        self._versions = {name: _in_image(backend, name) for name in profiles}

    def find(self, runtime: Runtime) -> Probe:
        """Return what there is of a runtime in the image that runs it."""
        versions = self._versions[runtime.profile]
        if runtime.key in versions:
            return Probe(runtime, version=versions[runtime.key])
        return Probe(runtime, problem="the image does not have it")


def _in_image(backend: Backend, profile: str) -> dict[str, str]:
    command = Command(("cat", RUNTIMES_FILE), Limits(scratch_bytes=MIB))
    key = f"selftest-{uuid.uuid4()}"
    outcome = outcome_of(backend, RunSpec(key, (), run=command, profile=profile))
    if problem := _problem_of_stage(outcome.cases[0]):
        raise SandboxError(f"the image does not say what it has: {problem}")
    return probe.read_told(outcome.cases[0].stdout.head.decode())


def spec(
    runtime: Runtime,
    source: bytes,
    allowed: Allowed,
    requested: Mapping[str, int] | None = None,
) -> RunSpec:
    """Return the run of a program that is one piece of source.

    `requested` are limits for both stages, raised where the runtime needs more.
    """
    entry = build.own_name(runtime, source)
    return build.spec(
        runtime,
        key=f"selftest-{uuid.uuid4()}",
        files=(SourceFile(entry, source),),
        entry=entry,
        limits=limits.resolve(
            requested or {},
            default=allowed.run,
            maximum=allowed.run_maximum,
            minimum=runtime.minimum,
        ),
        compile_limits=limits.resolve(
            requested or {},
            default=allowed.compile,
            maximum=allowed.compile_maximum,
            minimum=runtime.compile_minimum,
        ),
    )


def outcome_of(backend: Backend, run_spec: RunSpec) -> Outcome:
    """Run to completion; raise SandboxError when the sandbox could not."""
    session = backend.start(run_spec)
    for event in session.events():
        if isinstance(event, Finished):
            session.acknowledge()
            return event.outcome
    raise SandboxError("the sandbox ended without an outcome")


def problem_of(outcome: Outcome, expected: bytes) -> str:
    """Tell why this is not the outcome of a program that only printed `expected`."""
    if outcome.compile and (problem := _problem_of_stage(outcome.compile)):
        return f"compile: {problem}"
    if not outcome.cases:
        return "it was not run"
    if problem := _problem_of_stage(outcome.cases[0]):
        return problem
    printed = outcome.cases[0].stdout
    if printed.head + printed.tail != expected or printed.dropped_bytes:
        return f"printed {_shown(printed.head)!r} instead of {_shown(expected)!r}"
    return ""


def _problem_of_stage(stage: StageOutcome) -> str:
    if stage.end is End.EXITED and stage.exit_code == 0:
        return ""
    how = {
        End.EXITED: f"exit code {stage.exit_code}",
        End.SIGNALLED: f"signal {stage.signal}",
    }.get(stage.end, stage.end.value)
    said = stage.message or _shown(stage.stderr.head) or _shown(stage.stdout.head)
    return f"{how}: {said}" if said else how


def _shown(output: bytes) -> str:
    return output.decode(errors="replace")[:SHOWN_CHARACTERS].strip()
