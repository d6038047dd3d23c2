from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime

D = Runtime(
    key="d",
    label="D (LDC)",
    aliases=("dlang", "ldc", "ldc2"),
    source_name="main.d",
    compile=("ldc2", "-O2", "-i", "-of=a.out", "{entry}"),
    run=("./a.out",),
    version=("ldc2", "--version"),
    packages=("ldc", "gcc"),
    paths=("/etc/ldc2.conf",),
    compile_minimum={"max_processes": 8, "memory_bytes": 256 * MIB},
    selftest="import std.stdio;\n\nvoid main()\n{\n    writeln(6 * 7);\n}\n",
)
