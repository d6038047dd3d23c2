from __future__ import annotations

from collections.abc import Callable

import pytest

from executions.sandbox.agent import Bounds
from executions.sandbox.base import End, Output, OutputChunk
from executions.sandbox.plain import PlainBackend
from executions.tests.sandbox.conftest import Runner, finish, spec

EVERY_BYTE = bytes(range(256))


def test_streams_are_kept_apart_byte_for_byte(runner: Runner) -> None:
    case = runner.case(
        "import os; b = bytes(range(256)); os.write(1, b); os.write(2, b * 2)"
    )

    assert case.stdout == Output(EVERY_BYTE)
    assert case.stderr == Output(EVERY_BYTE * 2)


def test_stream_is_cut_in_the_middle_with_an_exact_count(runner: Runner) -> None:
    case = runner.case(
        "import sys\n"
        "sys.stdout.write(''.join(chr(65 + n % 26) for n in range(100_003)))\n"
        "sys.stderr.write('y' * 10)\n",
        limits={"output_bytes": 1_000},
    )
    text = "".join(chr(65 + n % 26) for n in range(100_003)).encode()

    assert (case.end, case.exit_code) == (End.EXITED, 0)
    assert case.stdout == Output(text[:750], text[-250:], 100_003 - 1_000)
    assert case.stderr == Output(b"y" * 10)


def test_stream_of_exactly_the_limit_is_whole(runner: Runner) -> None:
    case = runner.case("print('x' * 999)", limits={"output_bytes": 1_000})

    assert case.stdout == Output(b"x" * 999 + b"\n")


def test_program_past_the_hard_total_is_killed(
    make_plain: Callable[..., PlainBackend],
) -> None:
    backend = make_plain(bounds=Bounds(output_total_bytes=1_000_000))
    outcome, _ = finish(
        backend.start(spec("while True: print('x' * 9_999)", limits={}))
    )
    (case,) = outcome.cases

    assert case.end is End.OUTPUT
    # What one pipe holds may come on top.
    assert 1_000_000 < case.stdout.total_bytes < 1_300_000


def test_flood_ends_within_the_default_total(runner: Runner) -> None:
    case = runner.case("import os\nwhile True: os.write(2, b'x' * 65536)")

    assert case.end is End.OUTPUT
    assert 64 << 20 < case.stderr.total_bytes < 65 << 20


def test_output_appears_while_the_program_runs(runner: Runner) -> None:
    session = runner.start(
        "print('first', flush=True); input(); print('second')", interactive=True
    )
    events = session.events()
    first = next(e for e in events if isinstance(e, OutputChunk))
    session.send_stdin(b"go on\n")
    second = next(e for e in events if isinstance(e, OutputChunk))
    finished = list(events)
    session.acknowledge()

    assert (first.offset, first.data) == (0, b"first\n")
    assert (second.offset, second.data) == (6, b"second\n")
    assert len(finished) == 1


def test_background_child_with_the_stream_does_not_delay_the_end(
    runner: Runner,
) -> None:
    case = runner.case("sleep 30 & echo done", argv=("bash", "main.py"))

    assert case.stdout == Output(b"done\n")
    assert case.wall_time_ms < 5_000


@pytest.mark.slow
def test_last_words_of_a_killed_program_are_kept(runner: Runner) -> None:
    case = runner.case(
        "import os, time; os.write(1, b'a' * 60_000); time.sleep(60)",
        limits={"wall_time_ms": 2_000},
    )

    assert case.end is End.WALL_TIME
    assert case.stdout == Output(b"a" * 60_000)


def test_program_may_close_its_streams(runner: Runner) -> None:
    case = runner.case(
        "import os, time\n"
        "print('x', flush=True)\n"
        "for fd in (0, 1, 2): os.close(fd)\n"
        "time.sleep(0.2); os._exit(4)\n"
    )

    assert (case.end, case.exit_code) == (End.EXITED, 4)
    assert case.stdout == Output(b"x\n")
    assert case.wall_time_ms >= 200


def test_first_output_is_timed(runner: Runner) -> None:
    silent = runner.case("pass")
    late = runner.case("import time; time.sleep(0.3); print(1)")

    assert silent.first_output_ms is None
    assert late.first_output_ms is not None
    assert 300 <= late.first_output_ms <= late.wall_time_ms
