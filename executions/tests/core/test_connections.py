"""A worker's statements take a connection for as long as they last."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection

from platform_site.connections import statement


def lent() -> int:
    """Return how many connections of the pool are in use."""
    pool: Any = connection.pool  # type: ignore[attr-defined]
    stats = pool.get_stats()
    return int(stats["pool_size"] - stats["pool_available"])


@pytest.mark.db
@pytest.mark.django_db(transaction=True)
def test_a_statement_gives_its_connection_back() -> None:
    connection.close()
    before = lent()
    with statement() as cursor:
        cursor.execute("SELECT %s", (1,))
        assert cursor.fetchone() == (1,)
        assert lent() == before + 1
    assert lent() == before
    assert connection.connection is None


@pytest.mark.db
@pytest.mark.django_db(transaction=True)
def test_a_statement_that_fails_gives_its_connection_back() -> None:
    connection.close()
    before = lent()
    with pytest.raises(DatabaseError), statement() as cursor:
        cursor.execute("SELECT 1 / 0")
    assert lent() == before
    with statement() as cursor:
        cursor.execute("SELECT 2")
        assert cursor.fetchone() == (2,)


@pytest.mark.django_db
def test_a_statement_belongs_to_the_transaction_it_is_in() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE mine (number int)")
    with statement() as cursor:
        cursor.execute("INSERT INTO mine VALUES (7)")
    with connection.cursor() as cursor:
        cursor.execute("SELECT number FROM mine")
        assert cursor.fetchone() == (7,)
