from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime

TYPESCRIPT = Runtime(
    key="typescript",
    label="TypeScript",
    aliases=("ts", "tsc"),
    source_name="main.ts",
    compile=(
        "tsc",
        "--target",
        "es2021",
        "--module",
        "commonjs",
        "--moduleResolution",
        "node",
        "--esModuleInterop",
        "--skipLibCheck",
        "--strict",
        "--typeRoots",
        "/usr/local/lib/node_modules/@types,/usr/share/nodejs/@types",
        "--types",
        "node",
        "{entry}",
    ),
    run=("node", "{stem}.js"),
    version=("tsc", "--version"),
    packages=("node-typescript", "node-typescript-types", "nodejs"),
    minimum={"max_processes": 16, "memory_bytes": 64 * MIB},
    compile_minimum={"max_processes": 16, "memory_bytes": 256 * MIB},
    selftest="const answer: number = 6 * 7;\nconsole.log(answer);\n",
)
