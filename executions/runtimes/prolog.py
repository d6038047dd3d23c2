from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime

PROLOG = Runtime(
    key="prolog",
    label="Prolog (SWI)",
    aliases=("swipl", "swi-prolog"),
    source_name="main.pl",
    run=("swipl", "-g", "main", "-t", "halt", "{entry}"),
    version=("swipl", "--version"),
    packages=("swi-prolog-nox",),
    minimum={"max_processes": 4, "memory_bytes": 16 * MIB},
    selftest="main :- X is 6 * 7, writeln(X).\n",
)
