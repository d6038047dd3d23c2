from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime, threads

CSHARP = Runtime(
    key="csharp",
    label="C# (Mono)",
    aliases=("c#", "cs", "mono"),
    source_name="main.cs",
    compile=("mcs", "-optimize+", "-out:main.exe", "{sources}"),
    run=("mono", "main.exe"),
    version=("mono", "--version"),
    packages=("mono-mcs", "mono-runtime"),
    paths=("/etc/mono",),
    minimum={"max_processes": threads(8, 1), "memory_bytes": 32 * MIB},
    compile_minimum={"max_processes": threads(8, 1), "memory_bytes": 96 * MIB},
    selftest=(
        "class Program\n{\n"
        "    static void Main() => System.Console.WriteLine(6 * 7);\n"
        "}\n"
    ),
)
