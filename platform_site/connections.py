"""What a thread does with its database connection while it has no use for it.

PostgreSQL's go back to the pool, at no cost, so that no number of waiting threads runs
it dry. SQLite's are files of this thread's own, and opening one costs more than a
query: a few stay open, the others must not hold on to memory and descriptors.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections

KEPT_WAITING = 32

_places = threading.BoundedSemaphore(KEPT_WAITING)


def rest() -> None:
    """Let others use the connection; for the threads of a worker, which are few."""
    # Past the proxy of Django, as each look through it costs as much as a small call.
    database = connections[DEFAULT_DB_ALIAS]
    if database.connection is None or database.vendor == "sqlite":
        return
    if not database.in_atomic_block:
        database.close()


@contextmanager
def statement() -> Iterator[Any]:
    """Yield a cursor for one statement; the connection rests afterwards.

    With a pool it is taken from there, past Django's connection: to open that for each
    statement costs half as much again as the statement itself. Not where somebody would
    miss something: in a transaction, or where statements are counted or logged.
    """
    database: Any = connections[DEFAULT_DB_ALIAS]
    if database.connection is not None or not _is_plain(database):
        with database.cursor() as cursor:
            yield cursor
        rest()
        return
    with database.wrap_database_errors:
        pool = database.pool
        pool.open()
        borrowed = pool.getconn()
        try:
            with borrowed.cursor() as cursor:
                yield cursor
        finally:
            pool.putconn(borrowed)


def _is_plain(database: Any) -> bool:
    return (
        database.vendor == "postgresql"
        and database.pool is not None
        and not database.in_atomic_block
        and not database.execute_wrappers
        and not database.queries_logged
    )


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
