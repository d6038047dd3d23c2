"""What an execution's end means to the person who submitted it."""

from __future__ import annotations

from enum import StrEnum

from executions.sandbox.base import End, Outcome


class Verdict(StrEnum):
    OK = "ok"
    WRONG_ANSWER = "wrong_answer"
    COMPILE_ERROR = "compile_error"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    SYSTEM_ERROR = "system_error"


VERDICT_OF_END = {
    End.SIGNALLED: Verdict.RUNTIME_ERROR,
    End.CPU_TIME: Verdict.TIME_LIMIT,
    End.WALL_TIME: Verdict.TIME_LIMIT,
    End.MEMORY: Verdict.MEMORY_LIMIT,
    End.OUTPUT: Verdict.OUTPUT_LIMIT,
}


def classify(outcome: Outcome) -> Verdict:
    if not outcome.cases:
        return Verdict.COMPILE_ERROR if outcome.compile else Verdict.SYSTEM_ERROR
    case = outcome.cases[0]
    if case.end is End.EXITED:
        return Verdict.RUNTIME_ERROR if case.exit_code else Verdict.OK
    return VERDICT_OF_END.get(case.end, Verdict.SYSTEM_ERROR)


def reason(outcome: Outcome) -> str:
    return ""
