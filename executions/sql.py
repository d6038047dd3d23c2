"""The claims, in the SQL of each database: one statement that finds, takes and returns.

SQLite has one writer at a time, so it needs no row locks; PostgreSQL skips rows that
another claim has locked. Status names are written out, as only then do the partial
indexes match also for prepared statements.
"""

from __future__ import annotations

from functools import cache

from django.db import connection, models
from django.db.models.functions import Now

TABLE = "executions_execution"

# What a worker needs to run a program, in the order of the model's fields. Each column
# more costs it some microseconds.
CLAIMED = (
    *("id", "runtime", "entry_point", "files", "stdin", "args", "env", "limits"),
    *("compile_limits", "budget_ms", "attempt", "adoptions", "failures"),
    "cancel_requested_at",
)
COLUMNS = ", ".join(CLAIMED)


@cache
def is_postgresql() -> bool:
    return connection.vendor == "postgresql"


def now() -> str:
    return (
        "STATEMENT_TIMESTAMP()"
        if is_postgresql()
        else "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')"
    )


def later(seconds: str) -> str:
    """Return the SQL of the time that many seconds from now; `seconds` is SQL too."""
    if is_postgresql():
        return f"(STATEMENT_TIMESTAMP() + ({seconds}) * INTERVAL '1 second')"
    return f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', ({seconds}) || ' seconds')"


def waited_s() -> str:
    """Return the SQL of how long a row has been due."""
    if is_postgresql():
        return "EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP() - due_at)::float8"
    # To the millisecond: a Julian day as a float is some 40 microseconds off.
    return "ROUND((JULIANDAY('NOW') - JULIANDAY(due_at)) * 86400, 3)"


def age_since(field: str) -> models.Expression:
    """Return the expression of how long ago that was, by the database's clock alone."""
    return models.ExpressionWrapper(Now() - models.F(field), models.DurationField())


def skip_locked() -> str:
    return "FOR UPDATE SKIP LOCKED" if is_postgresql() else ""


def _start(which: str) -> str:
    return f"""
        UPDATE {TABLE} SET
            status = 'starting', attempt = attempt + 1,
            lease_id = %s, lease_owner = %s, lease_until = {later("%s")}, sandbox = %s,
            started_at = {now()}, deadline_at = {later("budget_ms / 1000.0")}
        WHERE id = ({which}) AND status = 'queued'
        RETURNING {COLUMNS}, EXISTS (
            SELECT 1 FROM {TABLE} AS other WHERE other.status = 'queued'
            AND other.due_at <= {now()} AND other.id <> {TABLE}.id
        ) AS has_more, {waited_s()} AS waited_s
    """  # noqa: S608 - nothing of it comes from outside


@cache
def claim_next() -> str:
    """Parameters: lease id, owner, seconds, scope."""
    return _start(f"""
        SELECT id FROM {TABLE} WHERE status = 'queued' AND due_at <= {now()}
        ORDER BY due_at LIMIT 1 {skip_locked()}
    """)  # noqa: S608


@cache
def claim_one() -> str:
    """Parameters: lease id, owner, seconds, scope, primary key."""
    return _start("%s")


@cache
def adopt_next() -> str:
    """Parameters: by how much adoptions grow, lease id, owner, seconds, scope, whether
    it had a lease.

    A run that was handed over has a time but no lease.
    """
    return f"""
        UPDATE {TABLE} SET adoptions = adoptions + %s,
            lease_id = %s, lease_owner = %s, lease_until = {later("%s")}
        WHERE id = (
            SELECT id FROM {TABLE}
            WHERE status IN ('starting', 'running') AND lease_until <= {now()}
            AND sandbox = %s AND (lease_id IS NOT NULL) = %s
            ORDER BY lease_until LIMIT 1 {skip_locked()}
        ) AND status IN ('starting', 'running')
        RETURNING {COLUMNS}, FALSE AS has_more, 0 AS waited_s
    """  # noqa: S608


@cache
def record(columns: tuple[str, ...]) -> str:
    """Parameters: a value for each column, then primary key and lease id."""
    changes = ", ".join(f"{name} = %s" for name in columns)
    return f"""
        UPDATE {TABLE} SET
            lease_id = NULL, lease_until = NULL, recorded_at = {now()}, {changes}
        WHERE id = %s AND lease_id = %s AND status IN ('starting', 'running')
    """  # noqa: S608


def extend(count: int) -> str:
    """Parameters: seconds, then `count` lease ids. Returns id and the cancel's time."""
    marks = ", ".join(["%s"] * count)
    return f"""
        UPDATE {TABLE} SET lease_until = {later("%s")}
        WHERE lease_id IN ({marks}) AND status IN ('starting', 'running')
        RETURNING lease_id, cancel_requested_at
    """  # noqa: S608
