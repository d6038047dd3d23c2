from __future__ import annotations

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
    compile_minimum={"max_processes": 8},
    selftest='#include <stdio.h>\nint main(void) { printf("%d\\n", 6 * 7); }\n',
)
