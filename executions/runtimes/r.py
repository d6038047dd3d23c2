from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime

R = Runtime(
    key="r",
    label="R",
    aliases=("rscript",),
    source_name="main.R",
    run=("Rscript", "--vanilla", "{entry}"),
    version=("Rscript", "--version"),
    packages=("r-base-core",),
    paths=("/etc/R",),
    minimum={"max_processes": 8, "memory_bytes": 64 * MIB},
    selftest='cat(6 * 7, "\\n", sep = "")\n',
)
