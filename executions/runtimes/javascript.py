from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime
from executions.runtimes.prestart_files import JAVASCRIPT as PRESTART

JAVASCRIPT = Runtime(
    key="javascript",
    label="JavaScript (Node.js)",
    aliases=("js", "node", "nodejs", "node.js"),
    source_name="main.js",
    run=("node", "{entry}"),
    version=("node", "--version"),
    packages=("nodejs",),
    # V8's and libuv's pools have four threads each, whatever the machine.
    minimum={"max_processes": 16, "memory_bytes": 64 * MIB, "stack_bytes": 2 * MIB},
    prestart=PRESTART,
    selftest="console.log(6 * 7);\n",
)
