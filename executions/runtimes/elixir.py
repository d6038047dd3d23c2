from __future__ import annotations

from executions.runtimes.base import Runtime

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
    selftest="IO.puts(6 * 7)\n",
)
