"""What a thread does with its database connection while it has no use for it.

PostgreSQL's go back to the pool, at no cost, so that no number of waiting threads runs
it dry. SQLite's are files of this thread's own, and opening one costs more than a
query: a few stay open, the others must not hold on to memory and descriptors.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

KEPT_WAITING = 32

_places = threading.BoundedSemaphore(KEPT_WAITING)


def rest() -> None:
    """Let others use the connection; for the threads of a worker, which are few."""
    if connection.vendor != "sqlite" and not connection.in_atomic_block:
        connection.close()


def end() -> None:
    """Close the connection of a thread that ends."""
    if not connection.in_atomic_block:
        connection.close()


@contextmanager
def resting() -> Iterator[None]:
    """Let others use the connection while the block waits; for any number of threads.

    Not inside a transaction, as in most tests: it would be rolled back.
    """
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "sqlite" and _places.acquire(blocking=False):
        try:
            yield
        finally:
            _places.release()
    else:
        connection.close()
        yield
