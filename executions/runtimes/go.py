from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import PREPARED, Prepare, Runtime, threads

GO = Runtime(
    key="go",
    label="Go",
    aliases=("golang",),
    source_name="main.go",
    compile=("go", "build", "-o", "a.out", "{siblings}"),
    run=("./a.out",),
    version=("go", "version"),
    packages=("golang-go",),
    # No cgo: nothing hands the program's text to a C compiler. The file of GOENV names
    # the prepared cache; without it, go compiles the standard library each time.
    compile_env={
        "CGO_ENABLED": "0",
        "GOENV": f"{PREPARED}/go/env",
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
    },
    # Else the heap grows to twice what is in use before anything is cleared away.
    env={"GOMEMLIMIT": "{soft_mib}MiB"},
    # Since Go 1.20 the standard library comes as source only, and compiling what a
    # hello needs takes ten seconds of CPU. go is content with a read-only cache.
    prepare=Prepare(
        argv=("go", "build", "std"),
        env={"GOCACHE": "{folder}/cache"},
        files={"env": f"GOCACHE={PREPARED}/go/cache\n"},
    ),
    minimum={"max_processes": threads(8, 2)},
    compile_minimum={
        "max_processes": threads(24, 8),
        "memory_bytes": 512 * MIB,
    },
    selftest=(
        'package main\n\nimport "fmt"\n\nfunc main() {\n\tfmt.Println(6 * 7)\n}\n'
    ),
)
