"""Turns what a sandbox measured into the columns of an execution."""

from __future__ import annotations

from typing import Any

from executions import verdicts
from executions.sandbox.base import End, Outcome, Output, StageOutcome
from executions.verdicts import Verdict

REASON_CHARACTERS = 2000


def columns(outcome: Outcome) -> dict[str, Any]:
    """Return the columns to store; verdict is None when the run was cancelled."""
    case = outcome.cases[0] if outcome.cases else None
    stored: dict[str, Any] = {
        "result": {
            "compile": _stage(outcome.compile),
            "run": _stage(case),
            "unenforced": [storable(name) for name in outcome.unenforced],
        },
        **_streams(case, ""),
        **_streams(outcome.compile, "compile_"),
    }
    if is_cancelled(outcome):
        return {**stored, "verdict": None, "reason": "cancelled"}
    return {
        **stored,
        "verdict": verdicts.classify(outcome),
        "reason": storable(verdicts.reason(outcome)),
    }


def failure(reason: str) -> dict[str, Any]:
    """Return the columns of a run that the platform itself could not finish."""
    return {"verdict": Verdict.SYSTEM_ERROR, "reason": storable(reason)}


def is_cancelled(outcome: Outcome) -> bool:
    stages = (outcome.compile, *outcome.cases)
    return any(stage is not None and stage.end is End.CANCELLED for stage in stages)


def storable(text: str) -> str:
    """Return text that any database takes: no NUL, no lone surrogates, not endless."""
    clean = text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return clean[:REASON_CHARACTERS]


def _streams(stage: StageOutcome | None, prefix: str) -> dict[str, bytes]:
    if stage is None:
        return {}
    return {
        f"{prefix}stdout": stage.stdout.head + stage.stdout.tail,
        f"{prefix}stderr": stage.stderr.head + stage.stderr.tail,
    }


def _stage(stage: StageOutcome | None) -> dict[str, Any] | None:
    if stage is None:
        return None
    return {
        "end": stage.end.value,
        "exit_code": stage.exit_code,
        "signal": stage.signal,
        "message": storable(stage.message),
        "cpu_time_ms": stage.cpu_time_ms,
        "wall_time_ms": stage.wall_time_ms,
        "memory_peak_bytes": stage.memory_peak_bytes,
        "first_output_ms": stage.first_output_ms,
        "measured_by": stage.measured_by,
        "limits": stage.limits.as_dict(),
        "stdout": _cut(stage.stdout),
        "stderr": _cut(stage.stderr),
    }


def _cut(output: Output) -> dict[str, int]:
    return {"head_bytes": len(output.head), "dropped_bytes": output.dropped_bytes}
