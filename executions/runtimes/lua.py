from __future__ import annotations

from executions.runtimes.base import Runtime

LUA = Runtime(
    key="lua",
    label="Lua 5.4",
    aliases=("lua5.4",),
    source_name="main.lua",
    run=("lua5.4", "{entry}"),
    version=("lua5.4", "-v"),
    packages=("lua5.4",),
    selftest="print(6 * 7)\n",
)
