from __future__ import annotations

from executions.runtimes.base import Runtime

BASH = Runtime(
    key="bash",
    label="Bash",
    aliases=("sh", "shell"),
    source_name="main.sh",
    run=("bash", "{entry}"),
    version=("bash", "--version"),
    packages=("bash",),
    selftest="echo $((6 * 7))\n",
)
