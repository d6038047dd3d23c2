from __future__ import annotations

from executions.runtimes.base import Runtime

PROLOG = Runtime(
    key="prolog",
    label="Prolog (SWI)",
    aliases=("swipl", "swi-prolog"),
    source_name="main.pl",
    run=("swipl", "-g", "main", "-t", "halt", "{entry}"),
    version=("swipl", "--version"),
    packages=("swi-prolog-nox",),
    selftest="main :- X is 6 * 7, writeln(X).\n",
)
