from __future__ import annotations

import signal

import pytest

from executions.limits import MIB
from executions.sandbox.base import End, Output
from executions.tests.sandbox.conftest import Runner

# On a busy machine a poll may come late, so a tree may overrun its CPU time a little.
SLACK_MS = 150


def test_cpu_time_of_a_loop_is_limited(runner: Runner) -> None:
    case = runner.case("while True: pass", limits={"cpu_time_ms": 300})

    assert case.end is End.CPU_TIME
    assert 300 <= case.cpu_time_ms < 300 + SLACK_MS


@pytest.mark.slow
def test_cpu_time_counts_the_whole_tree(runner: Runner) -> None:
    case = runner.case(
        "import os\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        while True: pass\n"
        "os.wait()\n",
        limits={"cpu_time_ms": 400},
    )

    assert case.end is End.CPU_TIME
    assert 400 <= case.cpu_time_ms < 400 + SLACK_MS


@pytest.mark.slow
def test_cpu_time_counts_a_relay_of_short_lived_children(runner: Runner) -> None:
    case = runner.case(
        "import os, time\n"
        "while True:\n"
        "    if os.fork(): os._exit(0) if os.getppid() == 0 else os.wait()\n"
        "    else:\n"
        "        end = time.process_time() + 0.03\n"
        "        while time.process_time() < end: pass\n"
        "        os._exit(0)\n",
        limits={"cpu_time_ms": 400},
    )

    assert case.end is End.CPU_TIME
    assert 400 <= case.cpu_time_ms < 400 + SLACK_MS


@pytest.mark.slow
def test_cpu_time_counts_orphans(runner: Runner) -> None:
    # Each generation leaves a child behind and ends: no parent ever waits for it.
    case = runner.case(
        "import os, sys, time\n"
        "if os.fork() == 0:\n"
        "    while True:\n"
        "        end = time.process_time() + 0.02\n"
        "        while time.process_time() < end: pass\n"
        "        if os.fork(): os._exit(0)\n"
        "time.sleep(60)\n",
        limits={"cpu_time_ms": 400},
    )

    assert case.end is End.CPU_TIME
    assert 400 <= case.cpu_time_ms < 400 + SLACK_MS


@pytest.mark.slow
def test_cpu_time_is_not_wall_time(runner: Runner) -> None:
    case = runner.case(
        "import time; time.sleep(2); print(1)", limits={"cpu_time_ms": 1_500}
    )

    assert case.end is End.EXITED
    assert case.cpu_time_ms < case.wall_time_ms / 2
    assert case.wall_time_ms >= 2_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "pause",
    [
        "time.sleep(60)",
        "os.kill(os.getpid(), 19)",
        "threading.Lock().acquire() and l.acquire()",
        "os.mkfifo('f'); open('f')",
    ],
)
def test_wall_time_ends_a_program_that_only_waits(runner: Runner, pause: str) -> None:
    case = runner.case(
        "import os, time, threading\n"
        "l = threading.Lock(); l.acquire()\n"
        f"print('line', flush=True)\n{pause}\ntime.sleep(60)",
        limits={"wall_time_ms": 4_000},
    )

    assert case.end is End.WALL_TIME
    assert 4_000 <= case.wall_time_ms < 40_000
    assert case.stdout == Output(b"line\n")


def test_limits_end_a_program_that_ignores_signals(runner: Runner) -> None:
    case = runner.case(
        "import signal\n"
        "for n in set(signal.valid_signals()) - {9, 19}:\n"
        "    signal.signal(n, signal.SIG_IGN)\n"
        "while True: pass\n",
        limits={"cpu_time_ms": 300},
    )

    assert case.end is End.CPU_TIME


def test_file_size_is_limited(runner: Runner) -> None:
    case = runner.case(
        "f = open('big', 'wb')\n"
        "try: f.write(bytes(2_000_000)); f.flush()\n"
        "except OSError as error: print(error.errno)\n",
        limits={"file_bytes": 1_000_000},
    )

    assert case.stdout == Output(b"27\n")


def test_stack_is_limited_and_no_core_is_left(runner: Runner) -> None:
    case = runner.case(
        "import resource as r\n"
        "print(r.getrlimit(r.RLIMIT_STACK), r.getrlimit(r.RLIMIT_CORE),"
        " r.getrlimit(r.RLIMIT_FSIZE), r.getrlimit(r.RLIMIT_NOFILE)[0] <= 1024)",
        limits={"stack_bytes": 8 * MIB, "file_bytes": 5 * MIB},
    )

    stack, file = 8 * MIB, 5 * MIB
    expected = f"({stack}, {stack}) (1, 1) ({file}, {file}) True\n"
    assert case.stdout.head.decode() == expected


def test_warm_interpreter_gets_the_limits_of_its_run(runner: Runner) -> None:
    source = (
        "import resource as r\n"
        "print(r.getrlimit(r.RLIMIT_STACK), r.getrlimit(r.RLIMIT_FSIZE))"
    )
    limits = {"stack_bytes": 8 * MIB, "file_bytes": 5 * MIB}

    warm = runner.case(source, prestart="python", limits=limits)

    assert warm.stdout == runner.case(source, limits=limits).stdout


def test_signal_of_the_program_itself_is_told_from_ours(runner: Runner) -> None:
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGXCPU):
        case = runner.case(f"import os; os.kill(os.getpid(), {int(number)})")

        assert (case.end, case.signal) == (End.SIGNALLED, number)


def test_memory_of_the_whole_tree_is_limited(jail_backend: object) -> None:
    case = Runner(jail_backend).case(  # type: ignore[arg-type]
        "import os\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0:\n"
        "        data = bytearray(40_000_000)\n"
        "        import time; time.sleep(5); os._exit(0)\n"
        "for _ in range(4): os.wait()\n",
        limits={"memory_bytes": 96 * MIB},
    )

    assert case.end is End.MEMORY
    assert case.measured_by == "cgroup"


def test_memory_just_below_the_limit_is_fine(jail_backend: object) -> None:
    case = Runner(jail_backend).case(  # type: ignore[arg-type]
        "b = bytearray(70_000_000); print(len(b))", limits={"memory_bytes": 96 * MIB}
    )

    assert case.end is End.EXITED
    assert 70_000_000 < case.memory_peak_bytes <= 96 * MIB


def test_too_many_processes_are_refused_and_told(jail_backend: object) -> None:
    case = Runner(jail_backend).case(  # type: ignore[arg-type]
        "import os, time\n"
        "for _ in range(30):\n"
        "    if os.fork() == 0: time.sleep(5); os._exit(0)\n",
        limits={"max_processes": 8},
    )

    assert (case.end, case.exit_code) == (End.EXITED, 1)
    assert b"BlockingIOError" in case.stderr.head
    assert case.message == "it asked for more than 8 processes"
