from __future__ import annotations

import re

from executions.limits import MIB
from executions.runtimes.base import Runtime, threads

_MODULE = re.compile(r"^[^\S\n]*-module\(\s*'?(\w+)'?\s*\)", re.MULTILINE)


def module_name(source: str) -> str | None:
    """Return the module, which has to be called like its file."""
    found = _MODULE.search(source)
    return found[1] if found else None


ERLANG = Runtime(
    key="erlang",
    label="Erlang",
    aliases=("erl",),
    source_name="main.erl",
    name_of=module_name,
    compile=("erlc", "{sources}"),
    # Without +sbwt, schedulers that wait burn CPU time, which is limited. init:stop
    # would take another second to end.
    run=(
        "erl",
        *("+sbwt", "none"),
        "-noshell",
        # Without a shell, standard output is Latin-1 whatever the locale.
        *("-eval", "io:setopts([{encoding, unicode}])."),
        *("-s", "{name}", "main"),
        *("-s", "erlang", "halt"),
        "-extra",
    ),
    version=(
        "erl",
        "-noshell",
        "-eval",
        'io:format("~s~n", [erlang:system_info(otp_release)]), halt().',
    ),
    packages=("erlang-base",),
    minimum={"max_processes": threads(24, 4), "memory_bytes": 64 * MIB},
    compile_minimum={"max_processes": threads(24, 4), "memory_bytes": 96 * MIB},
    selftest=(
        '-module(main).\n-export([main/0]).\n\nmain() -> io:format("~p~n", [6 * 7]).\n'
    ),
)
