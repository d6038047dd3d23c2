from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime

_NODE_MODULES = """\
assert async_hooks buffer child_process cluster crypto dgram dns events fs fs/promises
http http2 https net os path perf_hooks process querystring readline readline/promises
repl stream stream/promises string_decoder timers timers/promises tls tty url util v8
vm worker_threads zlib
"""

# Node's own names, for machines without their real declarations (Debian's nodejs brings
# them, others do not): the real ones are looked for first.
_GLOBALS = """\
declare var process: any, global: any, Buffer: any, require: any;
declare var module: any, exports: any, __filename: string, __dirname: string;
declare function setImmediate(call: (...args: any[]) => void, ...args: any[]): any;
declare function clearImmediate(handle: any): void;
declare namespace NodeJS { type Timeout = any; type Immediate = any; }
"""
_NODE_TYPES = _GLOBALS + "".join(
    f'declare module "{prefix}{name}";\n'
    for name in _NODE_MODULES.split()
    for prefix in ("", "node:")
)

TYPESCRIPT = Runtime(
    key="typescript",
    label="TypeScript",
    aliases=("ts", "tsc"),
    source_name="main.ts",
    files={".types/node/index.d.ts": _NODE_TYPES},
    compile=(
        "tsc",
        "--target",
        "es2021",
        "--module",
        "commonjs",
        "--esModuleInterop",
        "--skipLibCheck",
        "--strict",
        "--pretty",
        "false",
        "--typeRoots",
        "/usr/local/lib/node_modules/@types,/usr/share/nodejs/@types,.types",
        "{entry}",
    ),
    run=("node", "--max-old-space-size={memory_mib}", "{stem}.js"),
    version=("tsc", "--version"),
    packages=("node-typescript", "nodejs"),
    minimum={"max_processes": 16, "memory_bytes": 64 * MIB, "stack_bytes": 2 * MIB},
    compile_minimum={"max_processes": 16, "memory_bytes": 512 * MIB},
    selftest="const answer: number = 6 * 7;\nconsole.log(answer);\n",
)
