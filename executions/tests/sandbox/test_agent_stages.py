from __future__ import annotations

import pytest

from executions.sandbox.base import (
    Case,
    End,
    Output,
    SourceFile,
    StageStarted,
)
from executions.sandbox.jails import JailBackend
from executions.tests.sandbox.conftest import Runner, finish, in_python

BUILD = (
    "import os; os.mkdir('out'); open('out/tool', 'w').write('#!/bin/sh\\necho $1')\n"
    "os.chmod('out/tool', 0o755); os.symlink('out/tool', 'link')"
)


def test_compilation_comes_before_the_run(runner: Runner) -> None:
    session = runner.start(
        argv=("./link",), compile=in_python(BUILD), cases=(Case(args=("hi",)),)
    )
    outcome, events = finish(session)

    assert outcome.compile is not None
    assert outcome.compile.exit_code == 0
    assert outcome.cases[0].stdout == Output(b"hi\n")
    started = [event for event in events if isinstance(event, StageStarted)]
    assert started == [StageStarted("compile"), StageStarted("run", 0)]


def test_failed_compilation_is_the_end(runner: Runner) -> None:
    outcome = runner.outcome(compile=in_python("import sys; sys.exit('bad source')"))

    assert outcome.compile is not None
    assert (outcome.compile.end, outcome.compile.exit_code) == (End.EXITED, 1)
    assert outcome.compile.stderr == Output(b"bad source\n")
    assert outcome.cases == ()


def test_compilation_has_limits_of_its_own(runner: Runner) -> None:
    outcome = runner.outcome(
        compile=in_python("while True: pass", cpu_time_ms=200),
        limits={"cpu_time_ms": 9_000},
    )

    assert outcome.compile is not None
    assert outcome.compile.end is End.CPU_TIME
    assert outcome.compile.limits.cpu_time_ms == 200
    assert outcome.cases == ()


def test_no_process_of_the_compiler_meets_the_program(runner: Runner) -> None:
    outcome = runner.outcome(
        "import time; time.sleep(0.3); print(open('log').read())",
        compile=in_python(
            "import os, time\n"
            "open('log', 'w').write('0')\n"
            "if os.fork() == 0:\n"
            "    os.setsid()\n"
            "    while True: open('log', 'a').write('x'); time.sleep(0.01)\n"
            "time.sleep(0.05)\n"
        ),
    )

    first = outcome.cases[0].stdout.head
    assert first.startswith(b"0")
    assert len(first) < 30


def test_each_case_has_its_own_input_and_outcome(runner: Runner) -> None:
    cases = tuple(Case(f"{n}\n".encode(), (str(n),)) for n in range(4))
    outcome = runner.outcome(
        "import sys; n = int(input()); print(n, sys.argv); sys.exit(n)", cases=cases
    )

    assert [case.exit_code for case in outcome.cases] == [0, 1, 2, 3]
    assert outcome.cases[2].stdout == Output(b"2 ['main.py', '2']\n")


@pytest.mark.slow
def test_one_bad_case_does_not_end_the_others(runner: Runner) -> None:
    outcome = runner.outcome(
        "while input() == 'loop': pass\n",
        cases=(Case(b"stop\n"), Case(b"loop\n" * 3_000_000), Case(b"stop\n")),
        limits={"cpu_time_ms": 1_000},
    )

    ends = [case.end for case in outcome.cases]
    assert ends == [End.EXITED, End.CPU_TIME, End.EXITED]


@pytest.mark.slow
@pytest.mark.parametrize("compile_code", [None, BUILD])
def test_each_case_finds_the_folder_as_the_first_did(
    runner: Runner, compile_code: str | None
) -> None:
    source = (
        "import os, shutil\n"
        "seen = sorted(os.listdir('.')), sorted(os.listdir(os.environ['TMPDIR']))\n"
        "print(seen, open('data/x').read(), oct(os.stat('data/x').st_mode))\n"
        "os.mkdir('deep'); os.mkdir('shut'); open('shut/x', 'w'); os.chmod('shut', 0)\n"
        "open('left', 'w').write('trap'); os.mkfifo('fifo'); os.symlink('/', 'root')\n"
        "open(os.environ['TMPDIR'] + '/left', 'w').write('trap')\n"
        "os.unlink('data/x'); os.symlink('/etc/passwd', 'data/x')\n"
        "os.unlink('main.py'); os.mkdir('main.py'); os.mkdir('.lifted-1')\n"
        "os.chdir('deep')\n"
        "for n in range(1_500): os.mkdir('d'); os.chdir('d')\n"
        "open('bottom', 'w')\n"
    )
    files = (SourceFile("main.py", source.encode()), SourceFile("data/x", b"true"))
    compiler = None if compile_code is None else in_python(compile_code)

    outcome = runner.outcome(files=files, compile=compiler, cases=(Case(),) * 3)

    first, *others = outcome.cases
    assert (first.end, first.exit_code, first.stderr.head) == (End.EXITED, 0, b"")
    assert b"true" in first.stdout.head
    assert [case.stdout for case in others] == [first.stdout] * 2


@pytest.mark.slow
def test_many_cases_run_in_order(runner: Runner) -> None:
    cases = tuple(Case(args=(str(n),)) for n in range(40))

    outcome = runner.outcome(
        "echo $1", argv=("sh", "main.py"), cases=cases, limits={"output_bytes": 100}
    )

    printed = [case.stdout.head for case in outcome.cases]
    assert printed == [b"%d\n" % n for n in range(40)]


@pytest.mark.slow
@pytest.mark.portable
def test_many_cases_that_cannot_start_are_no_burden(runner: Runner) -> None:
    outcome = runner.outcome(
        argv=("./missing",), cases=(Case(),) * 300, limits={"output_bytes": 100}
    )

    assert {case.end for case in outcome.cases} == {End.FAILED}
    assert len(outcome.cases) == 300


@pytest.mark.slow
@pytest.mark.parametrize(
    "strike",
    [
        # The launcher of the next stage waits meanwhile, as one of the same user.
        "os.kill(-1, signal.SIGKILL)",
        "[os.kill(n, signal.SIGSTOP) for n in range(2, 50) if n != os.getpid()]",
        "[os.kill(n, signal.SIGKILL) for n in range(2, 50) if n != os.getpid()]",
    ],
)
def test_compiler_that_strikes_at_everybody_harms_no_later_stage(
    jail_backend: JailBackend, strike: str
) -> None:
    build = (
        "import contextlib, os, signal\n"
        "class Any(contextlib.suppress):\n"
        "    def __init__(self): super().__init__(OSError)\n"
        f"for _ in range(3):\n    with Any(): {strike}\n"
        "for n in range(2, 50):\n"
        "    with Any():\n"
        "        if n != os.getpid(): os.kill(n, signal.SIGSTOP)\n"
        "if os.fork() == 0:\n"
        "    while True: pass\n"
    )
    outcome = Runner(jail_backend).outcome(
        "import os; print([n for n in os.listdir('/proc') if n.isdigit()].__len__())",
        compile=in_python(build),
        cases=(Case(), Case()),
    )

    assert outcome.compile is not None
    assert (outcome.compile.end, outcome.compile.exit_code) == (End.EXITED, 0)
    assert [case.stdout.head for case in outcome.cases] == [b"3\n", b"2\n"]
