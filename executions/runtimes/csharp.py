from __future__ import annotations

from executions.runtimes.base import Runtime

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
    selftest=(
        "class Program\n{\n"
        "    static void Main() => System.Console.WriteLine(6 * 7);\n"
        "}\n"
    ),
)
