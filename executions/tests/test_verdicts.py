from __future__ import annotations

import pytest

from executions.limits import MIB, Limits
from executions.sandbox.base import End, Outcome, Output, StageOutcome
from executions.verdicts import Verdict, classify, reason, size

LIMITS = Limits(cpu_time_ms=2_000, wall_time_ms=10_000)
FINE = StageOutcome(End.EXITED, LIMITS, exit_code=0)
CUT = Output(b"x" * 786_432, b"x" * 262_144, 72_500_000)


def of_case(end: End, **fields: object) -> Outcome:
    return Outcome(None, (StageOutcome(end, LIMITS, **fields),))  # type: ignore[arg-type]


def of_build(end: End, **fields: object) -> Outcome:
    return Outcome(StageOutcome(end, LIMITS, **fields), ())  # type: ignore[arg-type]


CASES = [
    (Outcome(None, (FINE,)), Verdict.OK, ""),
    (Outcome(FINE, (FINE, FINE)), Verdict.OK, ""),
    (
        of_case(End.EXITED, exit_code=3),
        Verdict.RUNTIME_ERROR,
        "exited with code 3",
    ),
    (
        of_case(End.EXITED, exit_code=137),
        Verdict.RUNTIME_ERROR,
        "exited with code 137",
    ),
    (
        of_case(End.SIGNALLED, signal=11),
        Verdict.RUNTIME_ERROR,
        "killed by signal 11 (segmentation fault)",
    ),
    (
        of_case(End.SIGNALLED, signal=42),
        Verdict.RUNTIME_ERROR,
        "killed by signal 42",
    ),
    (
        of_case(End.CPU_TIME, cpu_time_ms=2_004),
        Verdict.TIME_LIMIT,
        "stopped after 2.0 s of CPU time (limit 2.0 s)",
    ),
    (
        of_case(End.WALL_TIME, wall_time_ms=10_001),
        Verdict.TIME_LIMIT,
        "stopped after 10.0 s of wall time (limit 10.0 s)",
    ),
    (
        of_case(End.MEMORY, memory_peak_bytes=256 * MIB - 4096),
        Verdict.MEMORY_LIMIT,
        "used 256 MiB (limit 256 MiB)",
    ),
    (
        of_case(End.OUTPUT, stdout=CUT),
        Verdict.OUTPUT_LIMIT,
        "stopped after it wrote 70.1 MiB (kept 1 MiB of each stream)",
    ),
    (
        of_case(End.EXITED, exit_code=0, stderr=CUT),
        Verdict.OUTPUT_LIMIT,
        "wrote 70.1 MiB (kept 1 MiB of each stream)",
    ),
    (
        of_case(End.EXITED, exit_code=1, stdout=CUT),
        Verdict.RUNTIME_ERROR,
        "exited with code 1",
    ),
    (
        of_case(End.FAILED, message="python3: No such file or directory"),
        Verdict.SYSTEM_ERROR,
        "could not be started: python3: No such file or directory",
    ),
    (
        of_case(End.FAILED, message="./a.out: Permission", is_program_fault=True),
        Verdict.RUNTIME_ERROR,
        "could not be started: ./a.out: Permission",
    ),
    (
        of_case(End.EXITED, exit_code=1, message="it asked for more than 9 processes"),
        Verdict.RUNTIME_ERROR,
        "exited with code 1; it asked for more than 9 processes",
    ),
    (
        of_case(End.EXITED, exit_code=0, message="it asked for more than 9 processes"),
        Verdict.OK,
        "",
    ),
    (
        of_build(End.EXITED, exit_code=1),
        Verdict.COMPILE_ERROR,
        "the compiler exited with code 1",
    ),
    (
        of_build(End.CPU_TIME, cpu_time_ms=2_000),
        Verdict.COMPILE_ERROR,
        "the compiler was stopped after 2.0 s of CPU time (limit 2.0 s)",
    ),
    (
        of_build(End.MEMORY),
        Verdict.COMPILE_ERROR,
        "the compiler used 256 MiB (limit 256 MiB)",
    ),
    (
        of_build(End.FAILED, message="no cgroup"),
        Verdict.SYSTEM_ERROR,
        "the compiler could not be started: no cgroup",
    ),
    (Outcome(None, ()), Verdict.SYSTEM_ERROR, "nothing was run"),
]


@pytest.mark.parametrize(("outcome", "verdict", "words"), CASES)
def test_verdict_of_an_outcome(outcome: Outcome, verdict: Verdict, words: str) -> None:
    assert (classify(outcome), reason(outcome)) == (verdict, words)


def test_verdict_is_that_of_the_first_case_that_is_not_fine() -> None:
    slow = StageOutcome(End.CPU_TIME, LIMITS, cpu_time_ms=2_000)
    wrong = StageOutcome(End.EXITED, LIMITS, exit_code=9)

    outcome = Outcome(FINE, (FINE, slow, wrong))

    assert classify(outcome) is Verdict.TIME_LIMIT
    assert reason(outcome).startswith("stopped after 2.0 s")


def test_verdict_ignores_what_a_compiler_says_too_much() -> None:
    talkative = StageOutcome(End.EXITED, LIMITS, exit_code=0, stderr=CUT)

    assert classify(Outcome(talkative, (FINE,))) is Verdict.OK


@pytest.mark.parametrize("end", End)
def test_verdict_exists_for_every_end(end: End) -> None:
    assert classify(of_case(end, exit_code=1, signal=9)) is not Verdict.OK
    assert reason(of_case(end, exit_code=1, signal=9))


def test_size_is_short_and_exact_in_round_numbers() -> None:
    sizes = [size(n) for n in (0, 1, 1023, 1024, 1_536, MIB, 1024 * MIB)]

    assert sizes == [
        "0 bytes",
        "1 byte",
        "1023 bytes",
        "1 KiB",
        "1.5 KiB",
        "1 MiB",
        "1 GiB",
    ]
