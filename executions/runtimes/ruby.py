from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime

RUBY = Runtime(
    key="ruby",
    label="Ruby",
    aliases=("rb",),
    source_name="main.rb",
    run=("ruby", "{entry}"),
    version=("ruby", "--version"),
    packages=("ruby",),
    minimum={"max_processes": 4, "memory_bytes": 24 * MIB},
    selftest="puts 6 * 7\n",
)
