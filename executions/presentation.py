"""What people see of an execution: its stored bytes and numbers, in readable form.

Everything here yields plain text; escaping for HTML is left to the templates, which do
it by default. Shared by the pages and the admin.
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from executions import verdicts
from executions.limits import KIB, LIMIT_NAMES
from executions.models import Execution

SHOWN_BYTES = 256 * KIB
"""More of one stream than this is not drawn on a page; it can be downloaded whole."""

SHOWN_END_BYTES = 16 * KIB
"""How much of the end of such a long stream is drawn after the gap."""

OUTCOME_LABELS = {
    "queued": "Queued",
    "starting": "Starting",
    "running": "Running",
    "cancelled": "Cancelled",
    "ok": "OK",
    "wrong_answer": "Wrong answer",
    "compile_error": "Compile error",
    "runtime_error": "Runtime error",
    "time_limit": "Time limit",
    "memory_limit": "Memory limit",
    "output_limit": "Output limit",
    "system_error": "System error",
}

SECOND_MS = 1_000
MINUTE_MS = 60_000

STREAMS = ("stdout", "stderr", "compile_stdout", "compile_stderr")

_LINE_CHARACTERS = "\n\t"
_C0_PICTURES = 0x2400
_DELETE = 0x7F


def readable(data: bytes | memoryview) -> str:
    """Decode UTF-8 so that every byte leaves a visible trace.

    Invalid bytes become U+FFFD and control characters their pictures (NUL is U+2400).
    Marks that reorder text on the screen become U+FFFD too, so that what is read is
    what was written.
    """
    text = bytes(data).decode("utf-8", "replace").replace("\r\n", "\n")
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    code = ord(character)
    if character in _LINE_CHARACTERS:
        return character
    if code < ord(" "):
        return chr(_C0_PICTURES + code)
    if code == _DELETE:
        return "\u2421"
    reorders = unicodedata.bidirectional(character) in _REORDERING
    return (
        "\ufffd" if reorders or unicodedata.category(character) == "Cc" else character
    )


_REORDERING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def duration(milliseconds: int) -> str:
    """Write a duration as people do: 38 ms, 2.04 s, 3 min 20 s."""
    if milliseconds < SECOND_MS:
        return f"{milliseconds} ms"
    if milliseconds < MINUTE_MS:
        return f"{milliseconds / SECOND_MS:.2f}".rstrip("0").rstrip(".") + " s"
    minutes, rest = divmod(round(milliseconds / SECOND_MS), MINUTE_MS // SECOND_MS)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def quantity(name: str, value: int) -> str:
    """Write the value of a limit by the unit in its name."""
    if name.endswith("_ms"):
        return duration(value)
    return verdicts.size(value) if name.endswith("_bytes") else str(value)


LIMIT_LABELS = {
    "cpu_time_ms": "CPU time",
    "wall_time_ms": "Wall time",
    "memory_bytes": "Memory",
    "output_bytes": "Output, each stream",
    "max_processes": "Processes",
    "file_bytes": "One file",
    "scratch_bytes": "All files",
    "stack_bytes": "Stack",
}


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit as applied; `compile` is empty for runtimes that do not compile."""

    label: str
    run: str
    compile: str


@dataclass(frozen=True, slots=True)
class Stream:
    """One output stream, ready to draw: text, then a gap of `hidden`, then more text.

    `dropped_bytes` were cut by the limit and exist nowhere; `hidden_bytes` were kept
    but are too many to draw.
    """

    name: str
    title: str
    head: str
    tail: str = ""
    dropped_bytes: int = 0
    hidden_bytes: int = 0
    total_bytes: int = 0

    @property
    def kept_bytes(self) -> int:
        return self.total_bytes - self.dropped_bytes

    @property
    def is_main(self) -> bool:
        return self.name == "stdout"

    @property
    def is_error(self) -> bool:
        return self.title == "stderr"

    @property
    def is_cut(self) -> bool:
        return bool(self.dropped_bytes or self.hidden_bytes)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage (compile or run) and what it used, as rows of label and value."""

    title: str
    facts: tuple[tuple[str, str], ...]
    streams: tuple[Stream, ...]

    @property
    def shown_streams(self) -> list[Stream]:
        """Leave out what is empty, except for the program's own stdout."""
        return [each for each in self.streams if each.total_bytes or each.is_main]


@dataclass(frozen=True, slots=True)
class ProgramFile:
    """One submitted file; `text` is None when it is not text."""

    path: str
    text: str | None
    size_bytes: int
    is_entry_point: bool


def stream(execution: Execution, name: str) -> Stream:
    """Return one output stream of an execution, cut to what a page can draw."""
    data = bytes(getattr(execution, name))
    stage, short_name = _place(name)
    kept = _stream_facts(execution, stage, short_name)
    dropped = int(kept.get("dropped_bytes", 0))
    cut_at = int(kept.get("head_bytes", len(data))) if dropped else len(data)
    head, tail = data[:cut_at], data[cut_at:]
    hidden = 0
    if len(data) > SHOWN_BYTES:
        head = data[: min(cut_at, SHOWN_BYTES - SHOWN_END_BYTES)]
        tail = data[max(cut_at if dropped else 0, len(data) - SHOWN_END_BYTES) :]
        hidden = len(data) - len(head) - len(tail)
    return Stream(
        name=name,
        title=short_name,
        head=readable(head),
        tail=readable(tail),
        dropped_bytes=dropped,
        hidden_bytes=hidden,
        total_bytes=len(data) + dropped,
    )


def _place(name: str) -> tuple[str, str]:
    if name.startswith("compile_"):
        return "compile", name.removeprefix("compile_")
    return "run", name


def _stream_facts(execution: Execution, stage: str, name: str) -> Mapping[str, Any]:
    result: Mapping[str, Any] = execution.result or {}
    facts: Mapping[str, Any] = (result.get(stage) or {}).get(name) or {}
    return facts


def stages(execution: Execution) -> Iterator[Stage]:
    """Yield what is known of compile and run, in that order; none while it waits."""
    result: Mapping[str, Any] = execution.result or {}
    for key, title in (("compile", "Compile"), ("run", "Run")):
        facts = result.get(key)
        names = [name for name in STREAMS if _place(name)[0] == key]
        # A cancelled or given-up run may have output without an outcome.
        if facts or any(getattr(execution, name) for name in names):
            streams = tuple(stream(execution, name) for name in names)
            yield Stage(title, tuple(_stage_facts(facts or {})), streams)


def _stage_facts(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if facts.get("exit_code") is not None:
        yield "Exit code", str(facts["exit_code"])
    if facts.get("signal") is not None:
        yield "Signal", str(facts["signal"])
    for key, label in (("cpu_time_ms", "CPU time"), ("wall_time_ms", "Wall time")):
        if facts.get(key) is not None:
            yield label, duration(int(facts[key]))
    if facts.get("memory_peak_bytes") is not None:
        yield "Peak memory", verdicts.size(int(facts["memory_peak_bytes"]))
    if facts.get("measured_by") == "rusage":
        yield "Measured by", "rusage (the largest process only)"


def timeline(execution: Execution) -> Iterator[tuple[str, str]]:
    """Yield how long each stage of the journey took, as far as it is known."""
    if execution.started_at:
        waited = execution.started_at - execution.queued_at
        yield "Waited in the queue", duration(round(waited.total_seconds() * 1000))
    for label, offset in (
        ("Sent to the sandbox after", execution.sent_ms),
        ("First output after", execution.first_output_ms),
        ("Ended after", execution.ended_ms),
    ):
        if offset is not None:
            yield label, duration(offset)
    if execution.recorded_at and execution.started_at:
        recorded = execution.recorded_at - execution.started_at
        yield "Recorded after", duration(round(recorded.total_seconds() * 1000))
    if execution.recorded_at:
        whole = execution.recorded_at - execution.queued_at
        yield "In all", duration(round(whole.total_seconds() * 1000))


def limit_rows(execution: Execution) -> Iterator[LimitRow]:
    """Yield the limits that were applied, in the order of the documentation."""
    compiles = bool((execution.result or {}).get("compile"))
    for name in LIMIT_NAMES:
        if name in execution.limits:
            compiled = execution.compile_limits.get(name) if compiles else None
            yield LimitRow(
                label=LIMIT_LABELS[name],
                run=quantity(name, execution.limits[name]),
                compile=quantity(name, compiled) if compiled is not None else "",
            )


def program_files(execution: Execution) -> Iterator[ProgramFile]:
    """Yield the submitted files, entry point first, as text where they are text."""
    ordered = sorted(execution.files, key=lambda f: f["path"] != execution.entry_point)
    for entry in ordered:
        content = base64.b64decode(entry["content"])
        yield ProgramFile(
            path=entry["path"],
            text=as_text(content),
            size_bytes=len(content),
            is_entry_point=entry["path"] == execution.entry_point,
        )


def program(execution: Execution) -> dict[str, Any]:
    """Return what executions/_program.html draws."""
    return {
        "execution": execution,
        "files": list(program_files(execution)),
        "stdin": readable(execution.stdin),
        "stdin_bytes": len(execution.stdin),
    }


def as_text(content: bytes) -> str | None:
    """Decode UTF-8, or return None when it is something else."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None
