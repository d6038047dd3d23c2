from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from executions.sandbox.base import End, Output, SourceFile
from executions.sandbox.plain import PlainBackend
from executions.tests.sandbox.conftest import PRESTARTS, Runner, spec


@pytest.mark.parametrize("code", [0, 1, 2, 124, 125, 126, 127, 137, 143, 255])
def test_exit_code_is_the_programs(runner: Runner, code: int) -> None:
    case = runner.case(f"import os; os._exit({code})")

    assert (case.end, case.exit_code, case.signal) == (End.EXITED, code, None)


def test_missing_command_is_no_fault_of_the_program(runner: Runner) -> None:
    case = runner.case(argv=("no-such-interpreter", "main.py"))

    assert case.end is End.FAILED
    assert not case.is_program_fault
    assert case.message == "no-such-interpreter: not installed where programs run"
    assert case.exit_code is None


@pytest.mark.parametrize("content", [b"not a program", b"#!/no/such/shell\n", b""])
def test_program_that_cannot_be_executed_is_its_own_fault(
    runner: Runner, content: bytes
) -> None:
    case = runner.case(
        argv=("./a.out",),
        compile=None,
        files=(SourceFile("a.out", content), SourceFile("sub/b.py", b"")),
    )

    assert case.end is End.FAILED
    assert case.is_program_fault
    assert case.message == "./a.out: Permission denied"


def test_arguments_that_are_too_long_are_their_own_fault(runner: Runner) -> None:
    case = runner.case("print(1)", args=("x" * 200_000,))

    assert case.end is End.FAILED
    assert case.is_program_fault


def test_files_in_each_others_way_are_their_own_fault(runner: Runner) -> None:
    files = (SourceFile("a", b"1"), SourceFile("a/b", b"2"))

    case = runner.case(files=files)

    assert case.end is End.FAILED
    assert case.is_program_fault
    assert "files do not fit" in case.message


def test_no_process_outlives_its_stage(runner: Runner) -> None:
    marker = f"7{os.getpid()}{os.urandom(3).hex()}".encode()
    case = runner.case(
        "import os, subprocess, sys, time\n"
        "code = 'import time; time.sleep(99)'\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            os.execvp('python3', ['python3', '-c', code, sys.argv[1]])\n"
        "        os._exit(0)\n"
        "subprocess.Popen(['python3', '-c', code, sys.argv[1]])\n"
        "time.sleep(0.2); print(1)\n",
        args=(marker.decode(),),
    )

    assert case.stdout == Output(b"1\n")
    assert _processes_with(marker) == []


def _processes_with(marker: bytes) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if marker in command and entry.name != str(os.getpid()):
            found.append(entry.name)
    return found


def test_program_has_only_its_three_descriptors(runner: Runner) -> None:
    source = "import os; print(sorted(os.listdir('/proc/self/fd')))"

    for prestart in (None, "python"):
        case = runner.case(source, prestart=prestart)

        # The fourth is listdir's own.
        assert case.stdout == Output(b"['0', '1', '2', '3']\n")


def test_program_has_only_the_environment_that_was_meant_for_it(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_MARKER", "1")
    case = runner.case(
        "import os; print(sorted(os.environ), os.environ['GIVEN'])",
        env={"GIVEN": "yes \u00e9"},
    )

    expected = "['GIVEN', 'HOME', 'LANG', 'PATH', 'TMPDIR'] yes \u00e9\n"
    assert case.stdout.head.decode() == expected


def test_program_gets_signals_that_its_surroundings_ignore() -> None:
    source = "import signal; print(signal.getsignal(signal.SIGQUIT).name)"
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    backend = PlainBackend(PRESTARTS)
    try:
        for prestart in (None, "python"):
            case = Runner(backend).case(source, prestart=prestart)
            assert case.stdout.head == b"SIG_DFL\n"
    finally:
        signal.signal(signal.SIGQUIT, before)
        backend.close()


def test_program_starts_with_default_signals_in_its_own_session(
    runner: Runner,
) -> None:
    case = runner.case(
        "grep -E 'SigBlk|SigIgn|SigCgt' /proc/self/status; "
        "[ $(ps -o sid= $$ 2>/dev/null || echo $$) = $$ ] && echo leader",
        argv=("bash", "main.py"),
    )

    lines = case.stdout.head.decode().split("\n")
    assert lines[0].split() == ["SigBlk:", "0" * 16]
    # Signals 32 and 33 are the C library's own. Its posix_spawn(), which make uses,
    # leaves them ignored, and lets nobody change that.
    name, ignored = lines[1].split()
    assert (name, int(ignored, 16) & ~(0b11 << 31)) == ("SigIgn:", 0)
    assert "leader" in lines


def test_arguments_and_names_are_passed_untouched(runner: Runner) -> None:
    odd = ("", "-x", "a b", "$(touch x)", "'\"", "\u00e9\U0001f600", "\n", "\udcff")
    case = runner.case(
        "import os, sys; sys.stdout.buffer.write("
        "b'|'.join(os.fsencode(a) for a in sys.argv[1:]))",
        args=odd,
    )

    expected = b"|".join(a.encode("utf-8", "surrogateescape") for a in odd)
    assert case.stdout == Output(expected)


def test_agent_is_out_of_the_programs_reach(jail_backend: object) -> None:
    case = Runner(jail_backend).case(  # type: ignore[arg-type]
        "import os\n"
        "for name in ('environ', 'mem', 'maps', 'fd', 'cwd'):\n"
        "    try:\n"
        "        path = '/proc/1/' + name\n"
        "        os.listdir(path) if name == 'fd' else open(path).read(1)\n"
        "        print('open', name)\n"
        "    except OSError: pass\n"
        "for number in range(1, 65):\n"
        "    try: os.kill(1, number)\n"
        "    except OSError: pass\n"
        "print('alive')"
    )

    assert case.stdout == Output(b"alive\n")
    assert (case.end, case.exit_code) == (End.EXITED, 0)


def test_spec_helper_makes_distinct_keys() -> None:
    assert spec().key != spec().key
