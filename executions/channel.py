"""News of runs, from workers to whoever waits, and control messages the other way.

Two implementations with one interface and one set of tests: Redis (one bounded, expiring
stream per run and direction, pub/sub to wake waiters) and in-process for the embedded
server. News may be lost; the row is the truth, so a waiter reads it once after
subscribing and once at the end.
"""

from __future__ import annotations
