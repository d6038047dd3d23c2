from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime, threads

ELIXIR = Runtime(
    key="elixir",
    label="Elixir",
    aliases=("exs",),
    source_name="main.exs",
    run=("elixir", "{entry}"),
    version=("elixir", "--short-version"),
    packages=("elixir",),
    # See erlang.py.
    env={"ELIXIR_ERL_OPTIONS": "+fnu +sbwt none"},
    minimum={"max_processes": threads(24, 4), "memory_bytes": 64 * MIB},
    selftest="IO.puts(6 * 7)\n",
)
