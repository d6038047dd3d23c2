from __future__ import annotations

from executions.runtimes.base import Runtime

AWK = Runtime(
    key="awk",
    label="Awk (GNU)",
    aliases=("gawk",),
    source_name="main.awk",
    run=("gawk", "-f", "{entry}"),
    version=("gawk", "--version"),
    packages=("gawk",),
    selftest="BEGIN { print 6 * 7 }\n",
)
