"""Runs a program of the suites directly on a sandbox backend, without a server.

Used to try programs quickly, and to run the confinement part without a sandbox, which
proves that it can fail.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from executions import runtimes
from executions.limits import MIB, Limits
from executions.runtimes import build, probe
from executions.sandbox.base import Backend, Case, Finished, SourceFile, StageOutcome
from executions.tests.suites.program import Observed, Program
from executions.verdicts import classify, reason

COMPILE_LIMITS = Limits(
    cpu_time_ms=20_000,
    wall_time_ms=30_000,
    memory_bytes=1024 * MIB,
    output_bytes=256 * 1024,
    max_processes=128,
    file_bytes=256 * MIB,
    scratch_bytes=512 * MIB,
)


class Direct:
    """Stands where over_http.Server does, for a backend in this process."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def run(self, program: Program, bait: Mapping[str, str]) -> Observed:
        runtime = runtimes.get(program.runtime)
        files = program.files(bait)
        spec = build.spec(
            runtime,
            key=f"{uuid.uuid4()}-1",
            files=tuple(SourceFile(path, raw) for path, raw in files.items()),
            entry=next(iter(files)),
            cases=(Case(program.given_stdin(bait), tuple(program.given_args(bait))),),
            env=program.given_env(bait),
            limits=_raised(program.given_limits(), Limits(), runtime.minimum),
            compile_limits=_raised(
                program.given_compile_limits(), COMPILE_LIMITS, runtime.compile_minimum
            ),
        )
        session = self._backend.start(spec)
        try:
            for event in session.events():
                if isinstance(event, Finished):
                    outcome = event.outcome
        finally:
            session.acknowledge()
        run = outcome.cases[0] if outcome.cases else None
        return observed(str(classify(outcome)), reason(outcome), run, outcome.compile)

    def runtimes(self) -> dict[str, bool]:
        return {runtime.key: probe.is_available(runtime) for runtime in runtimes.all()}


def _raised(
    asked: Mapping[str, int], default: Limits, minimum: Mapping[str, int]
) -> Limits:
    limits = default.with_(**asked)
    raised = {
        name: max(value, getattr(limits, name)) for name, value in minimum.items()
    }
    return limits.with_(**raised)


def observed(
    verdict: str, why: str, run: StageOutcome | None, build: StageOutcome | None
) -> Observed:
    """Say an outcome as the API would."""
    compiled = (
        (build.stdout.head + build.stdout.tail, build.stderr.head + build.stderr.tail)
        if build
        else (b"", b"")
    )
    if run is None:
        return Observed(verdict, why, b"", b"", *compiled)
    return Observed(
        verdict=verdict,
        reason=why,
        stdout=run.stdout.head + run.stdout.tail,
        stderr=run.stderr.head + run.stderr.tail,
        compile_stdout=compiled[0],
        compile_stderr=compiled[1],
        exit_code=run.exit_code,
        signal=run.signal,
        cpu_time_ms=run.cpu_time_ms,
        wall_time_ms=run.wall_time_ms,
        memory_peak_bytes=run.memory_peak_bytes,
        stdout_dropped=run.stdout.dropped_bytes,
        stderr_dropped=run.stderr.dropped_bytes,
    )
