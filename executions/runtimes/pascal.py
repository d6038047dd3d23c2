from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime

PASCAL = Runtime(
    key="pascal",
    label="Pascal (Free Pascal)",
    aliases=("fpc", "pas", "freepascal"),
    source_name="main.pas",
    compile=("fpc", "-v0w", "-O2", "-oa.out", "{entry}"),
    run=("./a.out",),
    version=("fpc", "-iV"),
    packages=("fp-compiler",),
    paths=("/etc/fpc*.cfg",),
    compile_minimum={"max_processes": 8, "memory_bytes": 64 * MIB},
    selftest="begin\n  writeln(6 * 7);\nend.\n",
)
