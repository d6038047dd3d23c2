from __future__ import annotations

import re

from executions.limits import MIB
from executions.runtimes.base import Runtime, threads

_NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_PACKAGE = re.compile(r"^\s*package\s+([\w.]+)\s*;", re.MULTILINE)
_TYPE = r"(?:class|interface|enum|record)\s+(\w+)"
_PUBLIC_TYPE = re.compile(
    r"^[ \t]*public\s+(?:(?:final|abstract|sealed|strictfp|static)\s+)*" + _TYPE,
    re.MULTILINE,
)
_ANY_TYPE = re.compile(r"\b" + _TYPE)
_MAIN = re.compile(r"\bvoid\s+main\s*\(")


def main_class(source: str) -> str | None:
    """Return the full name of the class to start: the public one, else main's."""
    text = _NOISE.sub(" ", source)
    found = _PUBLIC_TYPE.search(text)
    if found is None and (main := _MAIN.search(text)):
        found = max(
            _ANY_TYPE.finditer(text, 0, main.start()),
            key=lambda match: match.start(),
            default=None,
        )
    if found is None:
        return None
    package = _PACKAGE.search(text)
    return f"{package[1]}.{found[1]}" if package else found[1]


# One compiler tier and the small collector: a short program is done before more of
# them would pay, and their threads and memory are not the program's.
QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

JAVA = Runtime(
    key="java",
    label="Java",
    aliases=("jdk", "openjdk"),
    source_name="Main.java",
    name_of=main_class,
    compile=(
        "javac",
        *(f"-J{flag}" for flag in QUICK),
        "-J-Xmx{heap_mib}m",
        "-encoding",
        "UTF-8",
        "-proc:none",
        "-d",
        ".",
        "{sources}",
    ),
    run=(
        "java",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Xshare:auto",
        "-Xms16m",
        "-Xmx{heap_mib}m",
        "-XX:-UsePerfData",
        "-cp",
        ".",
        "{name}",
    ),
    version=("javac", "--version"),
    packages=("default-jdk-headless",),
    paths=("/etc/java-*",),
    minimum={"max_processes": threads(20, 2), "memory_bytes": 96 * MIB},
    compile_minimum={"max_processes": threads(20, 2), "memory_bytes": 256 * MIB},
    selftest=(
        "public class Main {\n"
        "    public static void main(String[] args) {\n"
        "        System.out.println(6 * 7);\n"
        "    }\n"
        "}\n"
    ),
)
