"""The INSERT of an execution, and the SELECT of what became of it, made once.

The ORM writes a query's SQL anew each time, and asks each of the 34 columns how its
values are converted: for these two 2,500 of the 6,050 function calls that a request
which waits for its program costs the web process. What the SQL says, and how values are
converted, stays Django's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from django.db import DEFAULT_DB_ALIAS, models
from django.db import connections as databases
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql import InsertQuery

from executions.models import Execution
from platform_site import connections

Field: TypeAlias = "models.Field[Any, Any]"

SUBMITTED = frozenset(
    (
        "id",
        "owner_id",
        "runtime",
        "entry_point",
        "files",
        "stdin",
        "args",
        "env",
        "limits",
        "compile_limits",
        "budget_ms",
    )
)
"""What a submission says and nothing changes later; all else begins as the default."""


def insert(execution: Execution) -> None:
    """Store a new execution, as `save(force_insert=True)` would, without signals."""
    made, database = _insert(), databases[DEFAULT_DB_ALIAS]
    parameters = list(made.parameters)
    for position, field in made.submitted:
        value = getattr(execution, field.attname)
        parameters[position] = field.get_db_prep_save(value, database)
    with connections.statement() as cursor:
        cursor.execute(made.sql, parameters)
        row = cursor.fetchone()
    made.returned.give(execution, row, database)
    execution._state.adding = False
    execution._state.db = database.alias


def refresh(execution: Execution) -> Execution:
    """Read again all that may change, and return the same object.

    Programs and their input, which may be megabytes, are not. Raises
    Execution.DoesNotExist.
    """
    sql, columns = _select()
    database = databases[DEFAULT_DB_ALIAS]
    key = Execution._meta.pk.get_db_prep_value(execution.pk, database)
    with connections.statement() as cursor:
        cursor.execute(sql, [key])
        row = cursor.fetchone()
    if row is None:
        raise Execution.DoesNotExist(f"{execution.pk} is gone")
    columns.give(execution, row, database)
    return execution


class _Columns:
    """Columns of a result, and how their values get into an object."""

    def __init__(self, fields: Iterable[Field], database: BaseDatabaseWrapper) -> None:
        self._columns = [f.get_col(Execution._meta.db_table) for f in fields]
        self._names = [column.target.attname for column in self._columns]
        # Few have any. Not kept themselves: they belong to one thread's connection.
        self._converted = [
            n for n, c in enumerate(self._columns) if _converters(c, database)
        ]

    def give(
        self, execution: Execution, row: Sequence[Any], database: BaseDatabaseWrapper
    ) -> None:
        values = list(row)
        for position in self._converted:
            column = self._columns[position]
            for convert in _converters(column, database):
                values[position] = convert(values[position], column, database)
        for name, value in zip(self._names, values, strict=True):
            setattr(execution, name, value)


def _converters(column: Any, database: BaseDatabaseWrapper) -> list[Any]:
    of_database = database.ops.get_db_converters(column)
    return [*of_database, *column.get_db_converters(database)]


@dataclass(frozen=True, slots=True)
class _Insert:
    sql: str
    parameters: tuple[Any, ...]
    """Those of an execution with all defaults."""
    submitted: tuple[tuple[int, Field], ...]
    """The places of those that differ."""
    returned: _Columns


@cache
def _insert() -> _Insert:
    meta, database = Execution._meta, databases[DEFAULT_DB_ALIAS]
    # Those that the database fills in have no parameter, so they come last.
    fields = sorted(meta.local_concrete_fields, key=lambda f: f.has_db_default())
    query = InsertQuery(Execution)
    query.insert_values(fields, [Execution()])
    compiler: Any = query.get_compiler(connection=database)
    compiler.returning_fields = meta.db_returning_fields
    [(sql, parameters)] = compiler.as_sql()
    return _Insert(
        sql,
        parameters,
        submitted=tuple((n, f) for n, f in enumerate(fields) if f.attname in SUBMITTED),
        returned=_Columns(meta.db_returning_fields, database),
    )


@cache
def _select() -> tuple[str, _Columns]:
    database = databases[DEFAULT_DB_ALIAS]
    fields = [f for f in Execution._meta.concrete_fields if f.attname not in SUBMITTED]
    wanted = Execution.objects.order_by().filter(pk=Execution().pk)
    rows = wanted.values_list(*(field.attname for field in fields))
    sql, _ = rows.query.get_compiler(connection=database).as_sql()
    return sql, _Columns(fields, database)
