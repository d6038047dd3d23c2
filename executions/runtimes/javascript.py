from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime
from executions.runtimes.prestart_files import JAVASCRIPT as PRESTART

JAVASCRIPT = Runtime(
    key="javascript",
    label="JavaScript (Node.js)",
    aliases=("js", "node", "nodejs", "node.js"),
    source_name="main.js",
    # Told its limit, V8 clears away garbage in time: else a program with 80 MB in use
    # takes more than 256 MiB and is killed.
    run=("node", "--max-old-space-size={memory_mib}", "{entry}"),
    version=("node", "--version"),
    packages=("nodejs",),
    # V8's and libuv's pools have four threads each, whatever the machine.
    minimum={"max_processes": 16, "memory_bytes": 64 * MIB, "stack_bytes": 2 * MIB},
    prestart=PRESTART,
    selftest="console.log(6 * 7);\n",
)
