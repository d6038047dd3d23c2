from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime, threads

NIM = Runtime(
    key="nim",
    label="Nim",
    aliases=("nimrod",),
    source_name="main.nim",
    compile=(
        "nim",
        "compile",
        "--hints:off",
        "--verbosity:0",
        "-d:release",
        "--nimcache:nimcache",
        "-o:a.out",
        "{entry}",
    ),
    run=("./a.out",),
    version=("nim", "--version"),
    packages=("nim", "gcc"),
    paths=("/etc/nim",),
    compile_minimum={"max_processes": threads(8, 4), "memory_bytes": 256 * MIB},
    selftest="echo 6 * 7\n",
)
