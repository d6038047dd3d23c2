"""Shows a run's output as it appears, safely, and says what the shell's exit code is.

A program's output may hold sequences that rewrite a terminal's screen, title or
answers; on a terminal only text, line ends and tabs come through. Elsewhere bytes stay
as they are.
"""

from __future__ import annotations

import codecs
import unicodedata
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from executions.models import Execution, Status
from executions.verdicts import Verdict

# As `timeout` and the shells have it.
EXIT_TIME_LIMIT = 124
EXIT_SIGNAL = 128
EXIT_CANCELLED = 130
EXIT_FAILED = 1
EXIT_SYSTEM_ERROR = 70

# Cc: controls. Cf: invisible marks, among them those that reorder text.
_HIDDEN = frozenset({"Cc", "Cf"})
_KEPT = frozenset("\n\t")


class Sink(Protocol):
    def write(self, data: bytes) -> None: ...


@dataclass(slots=True)
class Raw:
    """Writes bytes as they are."""

    stream: BinaryIO

    def write(self, data: bytes) -> None:
        self.stream.write(data)
        self.stream.flush()


@dataclass(slots=True)
class Plain:
    """Writes what is text; controls and undecodable bytes become U+FFFD or nothing."""

    stream: BinaryIO
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def write(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        self.stream.write(printable(text).encode())
        self.stream.flush()


def printable(text: str) -> str:
    return "".join(
        c for c in text if c in _KEPT or unicodedata.category(c) not in _HIDDEN
    )


class Screen:
    """Two streams of which each byte is shown once, live or from the stored row."""

    def __init__(self, stdout: Sink, stderr: Sink) -> None:
        self._sinks = {"stdout": stdout, "stderr": stderr}
        self._shown = {"stdout": 0, "stderr": 0}

    def show(self, stream: str, offset: int, data: bytes) -> None:
        """Show live bytes; what was shown before (after an adoption) is left out."""
        fresh = data[max(0, self._shown[stream] - offset) :]
        if fresh:
            self._shown[stream] = offset + len(data)
            self._sinks[stream].write(fresh)

    def show_rest(self, execution: Execution) -> None:
        """Show what the row has beyond what was shown live."""
        result = (execution.result or {}).get("run") or {}
        for stream in self._sinks:
            kept = bytes(getattr(execution, stream))
            cut = result.get(stream) or {}
            head = int(cut.get("head_bytes", len(kept)))
            dropped = int(cut.get("dropped_bytes", 0))
            if self._shown[stream] < head:
                self.show(stream, 0, kept[:head])
            # Live output may have gone on for a while where the row has a gap.
            if (gap := head + dropped - self._shown[stream]) > 0:
                self._sinks[stream].write(b"\n[%d bytes dropped]\n" % gap)
            if self._shown[stream] < dropped + len(kept):
                self.show(stream, head + dropped, kept[head:])


def exit_code(execution: Execution) -> int:
    """Return what the shell is told: the program's own exit code where it has one."""
    if execution.status == Status.CANCELLED:
        return EXIT_CANCELLED
    stage = (execution.result or {}).get("run") or {}
    if execution.verdict == Verdict.TIME_LIMIT:
        return EXIT_TIME_LIMIT
    if execution.verdict == Verdict.SYSTEM_ERROR:
        return EXIT_SYSTEM_ERROR
    if stage.get("signal"):
        return EXIT_SIGNAL + int(stage["signal"])
    if stage.get("exit_code") is not None:
        return int(stage["exit_code"])
    return EXIT_FAILED
