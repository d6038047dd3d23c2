from __future__ import annotations

import pytest

from executions.sandbox.base import Case, End, Output, OutputChunk
from executions.tests.sandbox.conftest import Runner, finish, in_python

COUNT = "import sys; print(len(sys.stdin.buffer.read()))"


def test_stdin_ends_at_once_when_there_is_none(runner: Runner) -> None:
    assert runner.case(COUNT).stdout == Output(b"0\n")


def test_stdin_of_any_size_arrives(runner: Runner) -> None:
    case = runner.case(
        "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])",
        stdin=b"ab" * 500_000,
        limits={"output_bytes": 2_000_000},
    )

    assert case.stdout == Output(b"ba" * 500_000)


def test_unread_stdin_harms_nobody(runner: Runner) -> None:
    case = runner.case("print(1)", stdin=bytes(1_000_000))

    assert (case.end, case.exit_code) == (End.EXITED, 0)
    assert case.stdout == Output(b"1\n")


def test_stdin_is_closed_under_a_writer(runner: Runner) -> None:
    case = runner.case(
        "import os, time; os.close(0); time.sleep(0.1); print(2)",
        stdin=bytes(1_000_000),
    )

    assert case.stdout == Output(b"2\n")


def test_live_stdin_follows_the_first_input(runner: Runner) -> None:
    session = runner.start(
        COUNT, cases=(Case(b"x" * 1_000),), interactive=True, prestart="python"
    )
    session.send_stdin(b"y" * 20)
    session.send_stdin(b"z" * 3)
    session.close_stdin()
    outcome, _ = finish(session)

    assert outcome.cases[0].stdout == Output(b"1023\n")


def test_live_stdin_may_be_far_larger_than_its_window(runner: Runner) -> None:
    session = runner.start(
        "import sys, time; time.sleep(0.3)\n" + COUNT, interactive=True
    )
    for _ in range(100):
        session.send_stdin(bytes(70_000))
    session.close_stdin()
    outcome, _ = finish(session)

    assert outcome.cases[0].stdout == Output(b"7000000\n")


def test_live_stdin_reaches_the_program_line_by_line(runner: Runner) -> None:
    session = runner.start(
        "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)",
        interactive=True,
    )
    answers = []
    session.send_stdin(b"abc\n")
    for event in session.events():
        if isinstance(event, OutputChunk):
            answers.append(event.data)
            if len(answers) == 1:
                session.send_stdin(b"def\n")
            else:
                session.close_stdin()
    session.acknowledge()

    assert answers == [b"cba\n", b"fed\n"]


def test_live_stdin_waits_for_the_compilation(runner: Runner) -> None:
    # The compiler must not get what is meant for the program.
    session = runner.start(
        COUNT,
        interactive=True,
        compile=in_python("import sys, time; time.sleep(0.2); print(sys.stdin.read())"),
    )
    session.send_stdin(b"hello")
    session.close_stdin()
    outcome, _ = finish(session)

    assert outcome.compile is not None
    assert outcome.compile.stdout == Output(b"\n")
    assert outcome.cases[0].stdout == Output(b"5\n")


@pytest.mark.slow
def test_live_stdin_of_a_run_that_takes_none_is_dropped(runner: Runner) -> None:
    session = runner.start(
        "import time; time.sleep(0.5); " + COUNT, cases=(Case(b"abc"),)
    )
    for _ in range(50):
        session.send_stdin(bytes(100_000))
    outcome, _ = finish(session)

    assert outcome.cases[0].stdout == Output(b"3\n")
