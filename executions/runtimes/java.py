from __future__ import annotations

import re

from executions.limits import MIB
from executions.runtimes.base import PREPARED, Prepare, Runtime, threads

# What is never closed goes to the end: to look for the end again and again from every
# beginning would take hours for a megabyte of them.
_NOISE = re.compile(r'/\*.*?(?:\*/|\Z)|//[^\n]*|"(?:\\.|[^"\\\n])*"?', re.DOTALL)
_PACKAGE = re.compile(r"^[^\S\n]*package\s+([\w.]+)\s*;", re.MULTILINE)
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


# The collector without threads of its own; what is shared between machines is mapped.
_QUICK = ("-XX:+UseSerialGC", "-Xshare:auto", "-XX:-UsePerfData")
# The compiler is done before the second tier of its own compilation would pay.
_COMPILER = (
    "javac",
    *(f"-J{flag}" for flag in (*_QUICK, "-XX:TieredStopAtLevel=1")),
)
_SOURCE = (
    "public class Main {\n"
    "    public static void main(String[] args) {\n"
    "        System.out.println(6 * 7);\n"
    "    }\n"
    "}\n"
)

JAVA = Runtime(
    key="java",
    label="Java",
    aliases=("jdk", "openjdk"),
    source_name="Main.java",
    name_of=main_class,
    compile=(
        *_COMPILER,
        f"-J-XX:SharedArchiveFile={PREPARED}/java/javac.jsa",
        "-J-Xmx{heap_mib}m",
        "-encoding",
        "UTF-8",
        "-proc:none",
        "-d",
        ".",
        "{sources}",
    ),
    run=("java", *_QUICK, "-Xmx{heap_mib}m", "-cp", ".", "{name}"),
    version=("javac", "--version"),
    packages=("default-jdk-headless",),
    paths=("/etc/java-*",),
    # An archive of javac's own classes saves a third of its time; without it, javac
    # says nothing and reads them one by one.
    prepare=Prepare(
        argv=(
            *_COMPILER,
            "-J-XX:ArchiveClassesAtExit={folder}/javac.jsa",
            "-proc:none",
            "Main.java",
        ),
        files={"Main.java": _SOURCE},
    ),
    minimum={"max_processes": threads(20, 2), "memory_bytes": 96 * MIB},
    compile_minimum={"max_processes": threads(20, 2), "memory_bytes": 192 * MIB},
    selftest=_SOURCE,
)
