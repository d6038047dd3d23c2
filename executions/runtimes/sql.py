from __future__ import annotations

from executions.runtimes.base import Runtime

SQL = Runtime(
    key="sql",
    label="SQL (SQLite)",
    aliases=("sqlite", "sqlite3"),
    source_name="main.sql",
    run=("sqlite3", "-bail", ":memory:", ".read '{entry}'"),
    version=("sqlite3", "--version"),
    packages=("sqlite3",),
    selftest="SELECT 6 * 7;\n",
)
