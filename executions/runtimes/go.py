from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime, threads

GO = Runtime(
    key="go",
    label="Go",
    aliases=("golang",),
    source_name="main.go",
    compile=("go", "build", "-o", "a.out", "{siblings}"),
    run=("./a.out",),
    version=("go", "version"),
    packages=("golang-go",),
    # No cgo: a C compiler would read what the program names. GOENV names the prepared
    # build cache; where it is missing, go compiles the standard library each time.
    env={
        "CGO_ENABLED": "0",
        "GOENV": "/prepared/go/env",
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
    },
    minimum={"max_processes": threads(8, 2)},
    compile_minimum={
        "max_processes": threads(24, 8),
        "memory_bytes": 512 * MIB,
    },
    selftest=(
        'package main\n\nimport "fmt"\n\nfunc main() {\n\tfmt.Println(6 * 7)\n}\n'
    ),
)
