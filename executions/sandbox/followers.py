"""Whom an agent tells about its run: connections, each with its place in the story.

Part of the agent: standard library only.
"""

from __future__ import annotations

import _socket
import time

from executions.sandbox.accepted import Run
from executions.sandbox.protocol import (
    MAX_CHUNK_BYTES,
    STDIN_WINDOW_BYTES,
    STREAMS,
    TO_AGENT,
    Decoder,
    encode,
)
from executions.sandbox.supervisor import Stage, Supervision

_OUT_BUFFER_BYTES = 256 * 1024


class Connection:
    """One follower: what it sent so far, what it still has to get, how far it is."""

    def __init__(self, sock: _socket.socket, *, is_known: bool) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.is_known = is_known
        self.connected_at = time.monotonic()
        self.decoder = Decoder(TO_AGENT)
        self.out = bytearray()
        self.is_following = False
        self.is_complete = False
        self.stage = 0
        self.is_announced = False
        self.sent = dict.fromkeys(STREAMS, 0)
        self.seen: list[list[int]] = []
        self.stdin_received = 0
        self.stdin_reported = 0

    def follow(self, seen: list[list[int]]) -> None:
        """Start from the first stage, leaving out what was seen of each."""
        self.is_following = True
        self.seen = seen
        self.is_complete = False
        self.enter(0)

    def enter(self, stage: int) -> None:
        self.stage = stage
        self.is_announced = False
        seen = self.seen[stage] if stage < len(self.seen) else [0, 0]
        self.sent = dict(zip(STREAMS, seen, strict=True))

    def fill(self, run: Run) -> None:
        """Queue the next frames, in order, up to the buffer's bound."""
        while len(self.out) < _OUT_BUFFER_BYTES and not self.is_complete:
            if self.stage >= len(run.stages):
                if run.is_complete:
                    self.out += encode("result", {"stages": run.results})
                    self.is_complete = True
                return
            stage = run.stages[self.stage]
            if not self.is_announced:
                self.out += _announcement(stage.stage)
                self.is_announced = True
            if not self._fill_output(stage):
                if not stage.is_finished:
                    self._report_stdin(run, stage)
                    return
                self.enter(self.stage + 1)

    def _report_stdin(self, run: Run, stage: Supervision) -> None:
        waiting = len(run.stdin) + stage.stdin_waiting_bytes
        total = max(0, self.stdin_received - waiting)
        is_due = waiting < STDIN_WINDOW_BYTES // 2
        if total > self.stdin_reported and is_due:
            self.stdin_reported = total
            self.out += encode("stdin_taken", {"total": total})

    def _fill_output(self, stage: Supervision) -> bool:
        """Queue one chunk of each stream; return whether there was any."""
        has_any = False
        for stream in STREAMS:
            start, data = stage.captures[stream].read(
                self.sent[stream], MAX_CHUNK_BYTES, is_final=stage.is_finished
            )
            if data:
                has_any = True
                self.sent[stream] = start + len(data)
                self.out += encode(
                    "output",
                    {"n": stage.stage.n, "stream": stream, "offset": start},
                    data,
                )
        return has_any


def _announcement(stage: Stage) -> bytes:
    return encode(
        "stage",
        {
            "n": stage.n,
            "stage": stage.name,
            "case": stage.case,
            "wall_time_ms": stage.limits["wall_time_ms"],
        },
    )
