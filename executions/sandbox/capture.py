"""What is kept of one stream that a program writes: its head, its tail, and counts.

Part of the agent: standard library only.
"""

from __future__ import annotations

_SLACK_BYTES = 64 * 1024


class Capture:
    """Keeps the first three quarters and the last quarter of `limit_bytes`.

    A stream that fits is kept whole. Memory stays below 1.25 times the limit and some
    slack, whatever is written.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._head_max = limit_bytes * 3 // 4
        self._tail_max = limit_bytes - self._head_max
        self._head = bytearray()
        self._tail = bytearray()
        self.total_bytes = 0

    def write(self, data: bytes) -> None:
        self.total_bytes += len(data)
        room = self._head_max - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 2 * self._tail_max + _SLACK_BYTES:
            self._trim()

    def _trim(self) -> None:
        if len(self._tail) > self._tail_max:
            del self._tail[: len(self._tail) - self._tail_max]

    def finish(self) -> None:
        """Nothing more will be written: give up what is not kept."""
        if self.total_bytes > self._limit:
            self._trim()

    def read(self, position: int, size: int, *, is_final: bool) -> tuple[int, bytes]:
        """Return up to `size` kept bytes at or after `position`, and where they start.

        Empty when there is nothing yet. While the program runs, what lies beyond the
        cut is not given; after finish() the tail is.
        """
        if position < len(self._head):
            return position, bytes(self._head[position : position + size])
        if self.total_bytes > self._limit and not is_final:
            return position, b""
        tail_at = self.total_bytes - len(self._tail)
        start = max(position, tail_at)
        return start, bytes(self._tail[start - tail_at : start - tail_at + size])

    def kept(self) -> dict[str, int]:
        """Return the total and how much of it `head` and `tail` hold, for a result."""
        if self.total_bytes <= self._limit:
            return {"total": self.total_bytes, "head": self.total_bytes, "tail": 0}
        return {
            "total": self.total_bytes,
            "head": self._head_max,
            "tail": self._tail_max,
        }
