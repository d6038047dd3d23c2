from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime

C = Runtime(
    key="c",
    label="C17 (GCC)",
    aliases=("gcc", "c17", "c11"),
    source_name="main.c",
    compile=("gcc", "-O2", "-std=gnu17", "-pipe", "-o", "a.out", "{sources}", "-lm"),
    run=("./a.out",),
    version=("gcc", "--version"),
    packages=("gcc", "libc6-dev"),
    # gcc, and through a pipe the compiler and the assembler; then collect2 and ld.
    # When it cannot fork, it does not fail but waits.
    compile_minimum={"max_processes": 8, "memory_bytes": 64 * MIB},
    selftest='#include <stdio.h>\nint main(void) { printf("%d\\n", 6 * 7); }\n',
)
