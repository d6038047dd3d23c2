"""Plain counters, which cost a microsecond whether or not anybody reads them."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import Final, NamedTuple

BOUNDS_S: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0),
)
"""Up to where each group of Durations reaches; the last is open."""


class Counters:
    """How often each of some things happened; safe to use from many threads.

    Those named at first are told from the beginning, as zero.
    """

    def __init__(self, *known: tuple[str, ...]) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, ...]] = Counter(dict.fromkeys(known, 0))

    def add(self, *names: str, times: int = 1) -> None:
        """Count what these names tell; there may be few different ones."""
        with self._lock:
            self._counts[names] += times

    def read(self) -> Counter[tuple[str, ...]]:
        """Return a copy."""
        with self._lock:
            return self._counts.copy()


class Groups(NamedTuple):
    """How many were at most as long as each of BOUNDS_S, then all; and their sum."""

    up_to: list[int]
    total_s: float


class Durations:
    """How long something took, in groups; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._total_s = 0.0

    def add(self, seconds: float) -> None:
        seconds = max(0.0, seconds)
        group = bisect_left(BOUNDS_S, seconds)
        with self._lock:
            self._counts[group] += 1
            self._total_s += seconds

    def read(self) -> Groups:
        with self._lock:
            return Groups(list(accumulate(self._counts)), self._total_s)
