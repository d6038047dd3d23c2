"""How an execution looks to the API's clients.

Plain dicts, not REST framework's serializers: those cost a third of a submit. The
serializers of the OpenAPI document describe the same shapes, and a test compares.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from executions.limits import LIMIT_NAMES
from executions.models import Execution

Stored = bytes | memoryview
"""What the databases hand out of a binary column."""

TEXT = "utf-8"
BASE64 = "base64"
ENCODINGS = (TEXT, BASE64)

SUBMITTED_FIELDS = (
    "id",
    "owner_id",
    "runtime",
    "entry_point",
    "files",
    "stdin",
    "args",
    "env",
    "limits",
    "compile_limits",
    "queued_at",
)
SUMMARY_COLUMNS = (
    "id",
    "runtime",
    "entry_point",
    "status",
    "verdict",
    "reason",
    "attempt",
    "queued_at",
    "started_at",
    "ended_ms",
    "recorded_at",
)


def path(execution: Execution) -> str:
    return f"/api/v1/executions/{execution.id}"


def summary(execution: Execution) -> dict[str, Any]:
    """Return what a list shows; needs only SUMMARY_COLUMNS."""
    return {
        "id": str(execution.id),
        "url": path(execution),
        "status": execution.status,
        "verdict": execution.verdict,
        "reason": execution.reason,
        "runtime": execution.runtime,
        "entry_point": execution.entry_point,
        "attempt": execution.attempt,
        "queued_at": moment(execution.queued_at),
        "started_at": moment(execution.started_at),
        "ended_at": moment(execution.ended_at),
        "recorded_at": moment(execution.recorded_at),
    }


def detail(execution: Execution, *, encoding: str = TEXT) -> dict[str, Any]:
    """Return the whole execution, except for what was submitted in bulk."""
    result: Mapping[str, Any] = execution.result or {}
    return {
        **summary(execution),
        "sent_at": moment(execution.sent_at),
        "first_output_at": moment(execution.first_output_at),
        "cancel_requested_at": moment(execution.cancel_requested_at),
        "args": execution.args,
        "limits": _ordered(execution.limits),
        "compile_limits": _ordered(execution.compile_limits),
        "unenforced_limits": list(result.get("unenforced", ())),
        "encoding": encoding,
        "compile": _stage(
            result.get("compile"),
            execution.compile_stdout,
            execution.compile_stderr,
            encoding,
        ),
        "run": _stage(result.get("run"), execution.stdout, execution.stderr, encoding),
    }


def submission(execution: Execution, *, encoding: str = TEXT) -> dict[str, Any]:
    """Return what was submitted, in the form in which it could be submitted again."""
    return {
        "files": [_file(file, encoding) for file in execution.files],
        "stdin_base64" if encoding == BASE64 else "stdin": _encoded(
            execution.stdin, encoding
        ),
        "env": execution.env,
    }


def as_submitted(execution: Execution) -> Execution:
    """Return the execution as it was when it was submitted, unsaved.

    A repeated request is answered with what the first one was answered with.
    """
    return Execution(**{name: getattr(execution, name) for name in SUBMITTED_FIELDS})


def moment(value: datetime | None) -> str | None:
    """Write a time by RFC 3339, in UTC."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _ordered(limits: Mapping[str, int]) -> dict[str, int]:
    # PostgreSQL keeps the names of a JSON object in an order of its own.
    return {name: limits[name] for name in LIMIT_NAMES if name in limits}


def _stage(
    facts: Mapping[str, Any] | None, stdout: Stored, stderr: Stored, encoding: str
) -> dict[str, Any] | None:
    # A cancelled or given-up run may have output without an outcome.
    if facts is None and not stdout and not stderr:
        return None
    known: Mapping[str, Any] = facts or {}
    return {
        "end": known.get("end"),
        "exit_code": known.get("exit_code"),
        "signal": known.get("signal"),
        "cpu_time_ms": known.get("cpu_time_ms"),
        "wall_time_ms": known.get("wall_time_ms"),
        "memory_peak_bytes": known.get("memory_peak_bytes"),
        "measured_by": known.get("measured_by"),
        **_stream("stdout", known, stdout, encoding),
        **_stream("stderr", known, stderr, encoding),
    }


def _stream(
    name: str, facts: Mapping[str, Any], kept: Stored, encoding: str
) -> dict[str, Any]:
    cut: Mapping[str, Any] = facts.get(name) or {}
    dropped = cut.get("dropped_bytes", 0)
    head = cut.get("head_bytes", len(kept)) if dropped else len(kept)
    return {
        name: _encoded(kept, encoding),
        f"{name}_head_bytes": head,
        f"{name}_dropped_bytes": dropped,
    }


def _encoded(data: Stored, encoding: str) -> str:
    raw = bytes(data)
    if encoding == BASE64:
        return base64.b64encode(raw).decode()
    return raw.decode("utf-8", "replace")


def _file(file: Mapping[str, str], encoding: str) -> dict[str, str]:
    if encoding == TEXT:
        try:
            text = base64.b64decode(file["content"]).decode()
        except UnicodeDecodeError:
            pass
        else:
            return {"path": file["path"], "content": text, "encoding": TEXT}
    return {"path": file["path"], "content": file["content"], "encoding": BASE64}
