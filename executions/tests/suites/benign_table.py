"""The benign programs: ordinary work in every language, which must pass as it is.

A box that stops everything is worthless, so each of these has its exact output.
"""

from __future__ import annotations

from typing import Any

from executions.tests.suites import checks
from executions.tests.suites.hostile_table import RUNTIMES
from executions.tests.suites.program import HERE, MIB, Program

ENDINGS = RUNTIMES | {
    ".ml": "ocaml",
    ".pas": "pascal",
    ".tcl": "tcl",
    ".awk": "awk",
}
EVERY_BYTE = (
    bytes(range(256))
    + b"\0\0"
    + b"\xed\xa0\x80\xff\xfe\xc0\x80"
    + "\ufffe\uffff\U0010ffff\ufeff\u202e".encode()
    + b"\r\n\x1b[31m"
)
PATTERN = bytes(range(256)) * 4095  # nearly 1 MiB of every byte


def benign(name: str, source: str, *verdicts: str, **more: Any) -> Program:
    ending = source[source.rindex(".") :]
    return Program(
        id=f"S33-{name}",
        suite="benign",
        runtime=ENDINGS[ending],
        source=source,
        verdicts=verdicts or ("ok",),
        **more,
    )


def printing(name: str, source: str, *lines: str, **more: Any) -> Program:
    """A program whose whole output is these lines."""
    return benign(
        name, source, stdout="".join(f"{x}\n" for x in lines).encode(), **more
    )


SUM_ENDINGS = (
    *(".py", ".js", ".ts", ".c", ".cpp", ".go", ".rs", ".java", ".sh", ".pl"),
    *(".rb", ".php", ".lua", ".hs", ".ml", ".f90", ".pas", ".tcl", ".nim", ".awk"),
)

SUMS = tuple(
    printing(
        f"sum-{ENDINGS[ending]}",
        f"sum{ending}",
        "7",
        "größe→ok",
        stdin="3 4\ngröße\n".encode(),
    )
    for ending in SUM_ENDINGS
)

# Languages with one program of their own: it greets whom stdin names and exits with 3.
GREETINGS = tuple(
    Program(
        id=f"S33-greeting-{path.stem}",
        suite="../greetings",
        runtime=path.stem,
        source=path.name,
        verdicts=("runtime_error",),
        exit_code=3,
        stdin="Søren\n".encode(),
        stdout="Grüße, Søren!\n".encode(),
    )
    for path in sorted((HERE.parent / "greetings").iterdir())
    if path.stem not in {program.runtime for program in SUMS}
)

PYTHON = (
    printing(
        "processes-py",
        "threads.py",
        "True",
        "[0, 1, 4, 9, 16, 25, 36, 49]",
        "[0, 1, 4, 9]",
        "across",
        "1",
    ),
    printing("shared-memory", "shared_memory.py", "hello", "mine"),
    printing(
        "files",
        "files.py",
        "1000",
        "1000000",
        "499500",
        "content",
        "200",
        "CompletedProcess(args=['sh', '-c', 'echo from a shell; exit 3'], "
        "returncode=3, stdout='from a shell\\n', stderr='')",
    ),
    printing(
        "near-memory",
        "near_memory.py",
        "200",
        checks=(
            checks.memory_at_most(256 * MIB),
            checks.memory_at_least(200 * MIB),
        ),
    ),
    printing("near-processes", "near_processes.py", "50", "50"),
    benign(
        "near-output",
        "near_output.py",
        stdout=b"x" * MIB,
        checks=(checks.cut_to("stderr", MIB, MIB),),
    ),
    benign("every-byte", "every_byte.py", stdout=EVERY_BYTE),
    benign("large-stdin", "cat.py", stdin=PATTERN, stdout=PATTERN),
    printing("ignored-stdin", "ignore_stdin.py", "did not look", stdin=PATTERN),
    printing("no-stdin", "no_stdin.py", "'' False"),
    benign(
        "closed-streams",
        "close_streams.py",
        stdout=b"before\n",
        stdin=PATTERN,
        checks=(lambda seen: None if seen.stderr == b"total 499999500000\n" else "?",),
    ),
    benign("exit-code", "exit_code.py", "runtime_error", args=("42",), exit_code=42),
    benign("exit-zero", "exit_code.py", args=("0",), exit_code=0),
    benign(
        "traceback",
        "crash.py",
        "runtime_error",
        exit_code=1,
        checks=(
            lambda seen: (
                None
                if "ValueError: a message of my own: ü" in seen.stderr.decode()
                and "main.py" in seen.stderr.decode()
                else f"stderr {seen.stderr!r}"
            ),
        ),
    ),
    printing(
        "given",
        "given.py",
        "['one', 'two words', '*', 'ü']",
        "for it",
        "True __main__ True",
        "True True",
        "127.0.0.1 utf-8 utf-8",
        "True 8 True",
        args=("one", "two words", "*", "ü"),
        env={"SUITE_ASKED": "for", "SUITE_OTHER": "it"},
    ),
    printing(
        "packages",
        "packages.py",
        "12.56636 round things",
        extra={
            "shapes/__init__.py": b'NAME = "round"\n',
            "shapes/round.py": b"def circle(r):\n    return 3.14159 * r * r\n",
            "data/words.txt": b"things\n",
        },
    ),
    printing("own-network", "network_own.py", "hello you", "pair", "async", "child"),
    printing("signals", "signals.py", "['usr1', 'alarm']", "-15"),
    printing("numbers", "numbers.py", "148933", str(2**1000 % 1_000_007)),
    printing("recursion-py", "recursion.py", "50000"),
    benign("wrong-py", "wrong.py", "runtime_error", exit_code=1, stdout=b""),
)

COMPILED = (
    printing("threads-cpp", "threads.cpp", "32000 42 a"),
    printing("templates-cpp", "templates.cpp", "3 23416728348467685"),
    benign(
        "warnings-c",
        "warnings.c",
        stdout=b"fine\n",
        checks=(
            lambda seen: (
                None if b"only a warning" in seen.compile_stderr else "no warning"
            ),
        ),
    ),
    printing(
        "near-memory-c", "near_memory.c", "110", limits={"memory_bytes": 128 * MIB}
    ),
    printing("recursion-c", "deep_recursion.c", "100000"),
    printing("fork-exec-c", "fork_exec.c", "child 0"),
    benign("large-stdin-c", "cat.c", stdin=PATTERN, stdout=PATTERN),
    benign("crash-c", "crash.c", "runtime_error", signal=11, stdout=b"before\n"),
    printing("threads-rs", "threads.rs", '120 {"a": 16}', str(MIB)),
    printing("concurrency-go", "concurrency.go", "499500", "later", "child", "<nil>"),
    benign("exit-code-go", "exit_code.go", "runtime_error", exit_code=42),
    printing(
        "concurrency-java",
        "concurrency.java",
        "285",
        "499500",
        "ünïcode Point[x=1, y=2]",
        "60",
    ),
    benign("exit-code-java", "exit_code.java", "runtime_error", exit_code=42),
    *(
        benign(
            f"wrong-{ending}",
            f"wrong.{ending}",
            "compile_error",
            checks=(
                lambda seen: (
                    None
                    if seen.compile_stderr or seen.compile_stdout
                    else "no message of the compiler"
                ),
            ),
        )
        for ending in ("c", "rs", "ts", "java", "go")
    ),
)

SCRIPTS = (
    printing(
        "workers-js", "workers.js", "42", "child", str(MIB), "true ca978112", "80"
    ),
    printing(
        "modules-js",
        "modules.js",
        "42 things",
        extra={
            "lib/double.js": b"exports.double = (n) => 2 * n;\n",
            "data.json": b'{"name": "things"}\n',
        },
    ),
    benign("exit-code-js", "exit_code.js", "runtime_error", exit_code=42),
    printing("many-short-processes", "many_short_processes.sh", "150"),
    printing(
        "pipeline-sh",
        "pipeline.sh",
        "apple",
        "equal",
        "2",
        "3 255 /",
        "waited",
        "kept",
        "100",
        "/usr",
        "42",
        "leaving",
    ),
    printing("text-pl", "text.pl", "h1,l2,o1,ä1", "5050 child", "4"),
    printing(
        "text-rb",
        "text.rb",
        '{"a":[1,2,null],"ü":true}',
        "[6, 15, 24, 10]",
        "42",
        "child",
        "through",
    ),
    printing(
        "text-php", "text.php", '{"a":[1,2,null],"u":"ü"}', "5050 child", "1000 1"
    ),
    printing(
        "text-lua",
        "text.lua",
        "brown,fox,quick,the\t4\t9007199254740992",
        "1\t4\t9",
        "child",
    ),
)

BENIGN: tuple[Program, ...] = (*SUMS, *GREETINGS, *PYTHON, *COMPILED, *SCRIPTS)
