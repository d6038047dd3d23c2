from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime, threads

RUST = Runtime(
    key="rust",
    label="Rust 2021",
    aliases=("rs", "rustc"),
    source_name="main.rs",
    compile=("rustc", "--edition=2021", "-O", "-o", "a.out", "{entry}"),
    run=("./a.out",),
    version=("rustc", "--version"),
    packages=("rustc", "gcc", "libc6-dev"),
    compile_minimum={"max_processes": threads(16, 4), "memory_bytes": 384 * MIB},
    selftest='fn main() {\n    println!("{}", 6 * 7);\n}\n',
)
