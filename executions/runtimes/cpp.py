from __future__ import annotations

from dataclasses import replace

from executions.limits import MIB
from executions.runtimes.base import Runtime

CPP = Runtime(
    key="cpp",
    label="C++17 (GCC)",
    aliases=("c++", "g++", "cxx", "cpp17", "c++17"),
    source_name="main.cpp",
    compile=("g++", "-O2", "-std=gnu++17", "-pipe", "-o", "a.out", "{sources}"),
    run=("./a.out",),
    version=("g++", "--version"),
    packages=("g++",),
    compile_minimum={"max_processes": 8, "memory_bytes": 128 * MIB},
    selftest='#include <iostream>\nint main() { std::cout << 6 * 7 << "\\n"; }\n',
)

# Not the default: the standard headers of C++20 take a third more time to compile.
CPP20 = replace(
    CPP,
    key="cpp20",
    label="C++20 (GCC)",
    aliases=("c++20",),
    compile=("g++", "-O2", "-std=gnu++20", "-pipe", "-o", "a.out", "{sources}"),
)
