from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime

SCHEME = Runtime(
    key="scheme",
    label="Scheme (Guile 3)",
    aliases=("guile", "scm"),
    source_name="main.scm",
    run=("guile", "--no-auto-compile", "-s", "{entry}"),
    version=("guile", "--version"),
    packages=("guile-3.0",),
    minimum={"max_processes": 8, "memory_bytes": 16 * MIB},
    selftest="(display (* 6 7))\n(newline)\n",
)
