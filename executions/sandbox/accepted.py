"""The one run that an agent accepted: its stages so far and what is left of it.

Part of the agent: standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from executions.sandbox import scratch
from executions.sandbox.protocol import Frame
from executions.sandbox.supervisor import Stage, Supervision


class Run:
    """The one run of this agent: its stages so far and what is left of it."""

    def __init__(
        self, key: str, stages: Iterator[Stage], *, count: int, cases: int
    ) -> None:
        self.key = key
        self.waiting = stages
        self.count = count
        self.cases = cases
        self.is_interactive = False
        self.stages: list[Supervision] = []
        self.results: list[dict[str, Any]] = []
        self.stdin = bytearray()
        self.is_stdin_ended = False
        self.is_cancelled = False
        self.is_complete = False
        self.build: list[scratch.Entry] = []

    @property
    def current(self) -> Supervision | None:
        if self.stages and not self.stages[-1].is_finished:
            return self.stages[-1]
        return None


def unpack(frame: Frame) -> tuple[Run, list[tuple[str, bytes]]]:
    """Return the run of a checked frame and its files."""
    header, body = frame.header, memoryview(frame.body)
    files: list[tuple[str, bytes]] = []
    at = 0
    for file in header["files"]:
        files.append((file["path"], bytes(body[at : at + file["size"]])))
        at += file["size"]
    cases = len(header["cases"])
    count = cases + (header["compile"] is not None)
    stages = _stages(header, bytes(body[at:]))
    return Run(header["key"], stages, count=count, cases=cases), files


def _stages(header: dict[str, Any], stdins: bytes) -> Iterator[Stage]:
    n = 0
    if (build := header["compile"]) is not None:
        limits = build["limits"]
        yield Stage(0, "compile", None, build["argv"], build["env"], limits, b"", False)
        n = 1
    run, at = header["run"], 0
    for case_number, case in enumerate(header["cases"]):
        stdin = stdins[at : at + case["stdin_bytes"]]
        at += case["stdin_bytes"]
        yield Stage(
            n + case_number,
            "run",
            case_number,
            [*run["argv"], *case["args"]],
            run["env"],
            run["limits"],
            stdin,
            header["interactive"],
        )
