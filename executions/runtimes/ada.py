from __future__ import annotations

import re

from executions.limits import MIB
from executions.runtimes.base import Runtime

_COMMENT = re.compile(r"--[^\n]*")
_UNIT = re.compile(r"^[^\S\n]*procedure\s+(\w+)\s+is\b", re.MULTILINE | re.IGNORECASE)


def unit_name(source: str) -> str | None:
    """Return the first procedure, which has to be called like its file."""
    found = _UNIT.search(_COMMENT.sub("", source))
    return found[1].lower() if found else None


ADA = Runtime(
    key="ada",
    label="Ada (GNAT)",
    aliases=("gnat", "adb"),
    source_name="main.adb",
    name_of=unit_name,
    compile=("gnatmake", "-q", "-O2", "-o", "a.out", "{entry}"),
    run=("./a.out",),
    version=("gnatmake", "--version"),
    packages=("gnat",),
    compile_minimum={"max_processes": 8, "memory_bytes": 128 * MIB},
    selftest=(
        "with Ada.Text_IO;\n\nprocedure Main is\nbegin\n"
        '   Ada.Text_IO.Put_Line ("42");\nend Main;\n'
    ),
)
