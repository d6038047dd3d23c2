"""What an outcome means to the person who submitted the program.

Pure: an Outcome in, a word and a sentence out. `wrong_answer` is for whoever compares
the output with an expected one; nothing here does.
"""

from __future__ import annotations

from enum import StrEnum

from executions.limits import KIB, MIB
from executions.sandbox.base import End, Outcome, StageOutcome


class Verdict(StrEnum):
    """How a finished execution went."""

    OK = "ok"
    WRONG_ANSWER = "wrong_answer"
    COMPILE_ERROR = "compile_error"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    SYSTEM_ERROR = "system_error"


_OF_END = {
    End.CPU_TIME: Verdict.TIME_LIMIT,
    End.WALL_TIME: Verdict.TIME_LIMIT,
    End.MEMORY: Verdict.MEMORY_LIMIT,
    End.OUTPUT: Verdict.OUTPUT_LIMIT,
    End.SIGNALLED: Verdict.RUNTIME_ERROR,
    # A cancelled execution gets no verdict; whoever asks for one gets the nearest.
    End.CANCELLED: Verdict.RUNTIME_ERROR,
}

_SIGNALS = {
    1: "hangup",
    2: "interrupt",
    3: "quit",
    4: "illegal instruction",
    5: "trap",
    6: "aborted",
    7: "bus error",
    8: "arithmetic error",
    9: "killed",
    11: "segmentation fault",
    13: "broken pipe",
    14: "alarm",
    15: "terminated",
    24: "CPU time of one process exceeded",
    25: "file_bytes exceeded",
    31: "bad system call",
}


def classify(outcome: Outcome) -> Verdict:
    """Return the verdict: that of the first stage that did not go well."""
    build = outcome.compile
    if build is not None and not _has_exited_well(build):
        if build.end is End.FAILED and not build.is_program_fault:
            return Verdict.SYSTEM_ERROR
        return Verdict.COMPILE_ERROR
    if not outcome.cases:
        return Verdict.SYSTEM_ERROR
    verdicts = (_verdict_of_case(case) for case in outcome.cases)
    return next((v for v in verdicts if v is not Verdict.OK), Verdict.OK)


def reason(outcome: Outcome) -> str:
    """Say in plain words why the verdict is what it is; empty when it is ok."""
    build = outcome.compile
    if build is not None and not _has_exited_well(build):
        return _of_compiler(build)
    if not outcome.cases:
        return "nothing was run"
    return next(filter(None, map(stage_reason, outcome.cases)), "")


def stage_reason(stage: StageOutcome) -> str:
    """Say in plain words how one stage ended; empty when it ended well."""
    text = _of_end(stage)
    if text and stage.message and stage.end not in (End.FAILED, End.CANCELLED):
        return f"{text}; {stage.message}"
    return text


def seconds(milliseconds: int) -> str:
    """Return a duration for people: one decimal, three below a tenth of a second."""
    digits = 1 if milliseconds >= 100 else 3  # noqa: PLR2004
    return f"{milliseconds / 1000:.{digits}f} s"


def size(count: int) -> str:
    """Return a number of bytes for people, in the largest unit that leaves it >= 1."""
    for unit, name in ((1024 * MIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count >= unit:
            text = f"{count / unit:.1f}"
            return f"{text.removesuffix('.0')} {name}"
    return f"{count} bytes" if count != 1 else "1 byte"


def _of_end(stage: StageOutcome) -> str:  # noqa: PLR0911 - one for each end
    limits = stage.limits
    match stage.end:
        case End.EXITED:
            if stage.exit_code:
                return f"exited with code {stage.exit_code}"
            return f"wrote {_wrote(stage)}" if _is_cut(stage) else ""
        case End.SIGNALLED:
            return f"killed by signal {stage.signal}{_signal_name(stage.signal)}"
        case End.CPU_TIME:
            used, limit = seconds(stage.cpu_time_ms), seconds(limits.cpu_time_ms)
            return f"stopped after {used} of CPU time (limit {limit})"
        case End.WALL_TIME:
            used, limit = seconds(stage.wall_time_ms), seconds(limits.wall_time_ms)
            return f"stopped after {used} of wall time (limit {limit})"
        case End.MEMORY:
            # The kernel refuses the page that would pass the limit, so the peak may
            # stay a little below it, or the cgroup may not show it at all.
            used = size(max(stage.memory_peak_bytes, limits.memory_bytes))
            return f"used {used} (limit {size(limits.memory_bytes)})"
        case End.OUTPUT:
            return f"stopped after it wrote {_wrote(stage)}"
        case End.CANCELLED:
            return "cancelled"
        case End.FAILED:
            return f"could not be started: {stage.message or 'no reason given'}"


def _verdict_of_case(stage: StageOutcome) -> Verdict:
    if stage.end is End.EXITED:
        if stage.exit_code:
            return Verdict.RUNTIME_ERROR
        return Verdict.OUTPUT_LIMIT if _is_cut(stage) else Verdict.OK
    if stage.end is End.FAILED:
        is_theirs = stage.is_program_fault
        return Verdict.RUNTIME_ERROR if is_theirs else Verdict.SYSTEM_ERROR
    return _OF_END[stage.end]


def _of_compiler(build: StageOutcome) -> str:
    text = stage_reason(build)
    if build.end is End.CANCELLED:
        return "cancelled while compiling"
    if build.end in (End.CPU_TIME, End.WALL_TIME, End.OUTPUT, End.SIGNALLED):
        return f"the compiler was {text}"
    return f"the compiler {text}"


def _has_exited_well(stage: StageOutcome) -> bool:
    # A compiler whose messages were cut has built all the same.
    return stage.end is End.EXITED and stage.exit_code == 0


def _is_cut(stage: StageOutcome) -> bool:
    return bool(stage.stdout.dropped_bytes or stage.stderr.dropped_bytes)


def _wrote(stage: StageOutcome) -> str:
    total = stage.stdout.total_bytes + stage.stderr.total_bytes
    return f"{size(total)} (kept {size(stage.limits.output_bytes)} of each stream)"


def _signal_name(number: int | None) -> str:
    name = _SIGNALS.get(number or 0)
    return f" ({name})" if name else ""
