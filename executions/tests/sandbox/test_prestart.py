"""A program must not be able to tell that its interpreter was started ahead of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from executions.limits import Limits
from executions.runtimes.base import Prestart
from executions.runtimes.selftest import outcome_of
from executions.sandbox.base import (
    Case,
    Command,
    End,
    RunSpec,
    SourceFile,
    StageOutcome,
)
from executions.sandbox.plain import PlainBackend
from executions.tests.sandbox.conftest import PRESTARTS, Runner

PYTHON = {
    "prints": "print(6 * 7)",
    "arguments": "import sys; print(sys.argv, sys.orig_argv)",
    "path": "import sys; print(sys.path, sys.path_importer_cache.keys())",
    "flags": "import sys; print(sys.flags, sys.warnoptions, sys._xoptions)",
    "modules": "import sys; print(sorted(sys.modules))",
    "environment": "import os; print(sorted(os.environ), os.getenv('GIVEN'))",
    "environment_of_children": "import subprocess; subprocess.run(['env'])",
    "globals": "print(sorted(globals()), __name__, __spec__, __builtins__)",
    "main_module": "import __main__; print(type(__main__.__loader__), vars())",
    "traceback": "def f(): 1 / 0\ndef g(): f()\ng()",
    "chained_traceback": "try: int('x')\nexcept Exception as e: raise KeyError from e",
    "syntax_error": "def f(:\n  pass",
    "indentation_error": "if 1:\nprint(1)",
    "bad_encoding": "# coding: no-such\nprint(1)",
    "exit_code": "import sys; sys.exit(3)",
    "exit_text": "import sys; sys.exit('sorry')",
    "atexit": "import atexit; atexit.register(print, 'bye'); print('hi'); exit(2)",
    "finalizers": (
        "import atexit, os, weakref\n"
        "class Named:\n"
        "    def __init__(self, name): self.name = name\n"
        "    def __del__(self, write=os.write): write(1, self.name)\n"
        "def endless():\n"
        "    try: yield\n"
        "    finally: write(1, b'generator ')\n"
        "write = os.write\n"
        "kept, cyclic, lively = Named(b'kept '), Named(b'cyclic '), endless()\n"
        "cyclic.itself = cyclic\n"
        "next(lively)\n"
        "os.path.theirs = Named(b'module ')\n"
        "os._Environ.theirs = Named(b'class ')\n"
        "weakref.finalize(kept, write, 1, b'finalize ')\n"
        "atexit.register(write, 1, b'atexit ')"
    ),
    "unflushed_file": (
        "file = open(1, 'w', closefd=False); file.write('unflushed')\ndef f(): pass"
    ),
    "unflushed_file_beside_a_patched_module": (
        "import os\n"
        "os.path.exists = lambda path: True\n"
        "file = open(1, 'w', closefd=False); file.write('unflushed')"
    ),
    "threads": (
        "import threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(.1), print('late'))).start()\n"
        "print(threading.current_thread().name, threading.active_count())"
    ),
    "multiprocessing_fork": (
        "import multiprocessing as m\n"
        "with m.get_context('fork').Pool(2) as p: print(p.map(abs, [-1, -2]))"
    ),
    "multiprocessing_spawn": (
        "import multiprocessing as m\n"
        "if __name__ == '__main__':\n"
        "    with m.get_context('spawn').Pool(1) as p: print(p.map(abs, [-1, -2]))"
    ),
    "stdin": "import sys; print(input(), sys.stdin.readlines())",
    "stdin_raw": "import os; print(os.read(0, 3), os.read(0, 99))",
    "buffering": (
        "import os, sys; print('last'); sys.stderr.write('e'); os.write(1, b'first ')\n"
        "print(sys.stdout.line_buffering, sys.stdout.encoding, sys.stdin.errors)"
    ),
    "descriptors": "import os; print(sorted(os.listdir('/proc/self/fd')))",
    "own_file": "print(__file__, open(__file__).read(), __doc__)",
    "own_module": "import other; print(other.__file__, other.X)",
    "signals": "import signal as s; print([s.getsignal(n) for n in (2, 13, 15, 25)])",
    "interrupt": "import os, signal; os.kill(os.getpid(), signal.SIGINT); print(1)",
    "files": (
        "import os\n"
        "print(os.getcwd(), os.listdir('.'), os.listdir(os.environ['TMPDIR']))"
    ),
    "limits": "import resource as r; print([r.getrlimit(n) for n in range(16)])",
    "warnings": "import warnings; warnings.warn('careful')",
    "gc_and_recursion": "import gc, sys; print(gc.isenabled(), gc.get_threshold(),"
    " sys.getrecursionlimit())",
    "session": "import os; print(os.getpid() == os.getpgrp() == os.getsid(0))",
}

JAVASCRIPT = {
    "prints": "console.log(6 * 7)",
    "arguments": "console.log(process.argv, process.execArgv, process.argv0)",
    "environment": "console.log(process.env)",
    "module": (
        "console.log(require.main === module, module.parent, module.paths,"
        " module.children, __filename, __dirname)"
    ),
    "cache": "console.log(Object.keys(require.cache), process._preload_modules)",
    "require": "console.log(require('./lib/x'), require.resolve('./lib/x'))",
    "globals": "console.log(Object.getOwnPropertyNames(globalThis).sort().join())",
    "throws": "function f() { throw new TypeError('no') }\nf()",
    "syntax_error": "let x = ;",
    "rejection": "Promise.reject(new Error('r'))",
    "exit_code": "process.exitCode = 4; process.on('exit', c => console.log(c))",
    "stdin": "console.log(require('fs').readFileSync(0, 'utf8'))",
    "stdin_stream": (
        "process.stdin.on('data', d => console.log(String(d)))"
        ".on('end', () => console.log('end'))"
    ),
    "worker": (
        "const {Worker} = require('worker_threads')\n"
        "new Worker('console.log(process.argv.length)', {eval: true})"
    ),
    "child": (
        "const c = require('child_process')\n"
        "console.log(String(c.execFileSync('env')).split('\\n').sort())"
    ),
    "fork": (
        "const c = require('child_process')\n"
        "if (process.send) process.send(process.argv.slice(2))\n"
        "else c.fork(__filename, ['a']).on('message', m => console.log(m))"
    ),
    "module_import": "import('fs').then(m => console.log(typeof m.readFileSync))",
    "descriptors": (
        "const fs = require('fs'); for (const n of fs.readdirSync('/proc/self/fd'))"
        " try { const l = fs.readlinkSync('/proc/self/fd/' + n);"
        " if (/socket|start/.test(l)) console.log(l) } catch {}"
    ),
    "timers": "setTimeout(() => console.log(2), 20); process.nextTick(console.log)",
    "strict": "console.log((function () { return this === undefined })())",
}

PYTHON_PRESTART = next(one for one in PRESTARTS if one.key == "python")
UNSEEN = b"['main.py'] [] True\n"

CASES = [("python", name) for name in PYTHON] + [("javascript", n) for n in JAVASCRIPT]


def run(runner: Runner, language: str, source: str, prestart: str | None) -> object:
    """Return all of an outcome that must not depend on the start."""
    command = {one.key: one.command for one in PRESTARTS}[language]
    name = command[-1]
    outcome = runner.outcome(
        files=(
            SourceFile(name, source.encode()),
            SourceFile("other.py", b"X = 1"),
            SourceFile("lib/x.js", b"module.exports = 7"),
        ),
        argv=command,
        env={"GIVEN": "\u00e9\U0001f600"},
        cases=(Case(b"one\ntwo\nthree", ("-x", "\u00e9\U0001f600", "", "a b")),),
        prestart=prestart,
        limits={"max_processes": 64},
    )
    (case,) = outcome.cases
    return case.end, case.exit_code, case.signal, *_streams(case)


def _streams(case: StageOutcome) -> list[str]:
    """Return both streams without the addresses and folders that always differ."""
    texts = (case.stdout.head.decode(), case.stderr.head.decode())
    return [re.sub(r"plain-sandbox-\w+|0x[0-9a-f]+", "…", text) for text in texts]


@pytest.mark.portable
@pytest.mark.parametrize(("language", "name"), CASES)
def test_prestarted_program_behaves_like_any_other(
    runner: Runner, language: str, name: str
) -> None:
    source = {"python": PYTHON, "javascript": JAVASCRIPT}[language][name]

    warm = run(runner, language, source, language)

    assert warm == run(runner, language, source, None)


@pytest.mark.slow
def test_prestart_costs_the_program_no_start(plain_backend: PlainBackend) -> None:
    plain_backend.prepare("python")
    time.sleep(0.5)
    runner = Runner(plain_backend)

    warm = runner.case("print(1)", prestart="python")
    cold = runner.case("print(1)")

    assert warm.cpu_time_ms < cold.cpu_time_ms


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        (("python3", "-O", "main.py"), {}),
        (("python3", "other.py"), {}),
        (("bash", "-c", "exec python3 main.py"), {}),
        (("python3", "main.py"), {"PYTHONHASHSEED": "7"}),
        (("python3", "main.py"), {"TZ": "Asia/Tokyo"}),
        (("python3", "main.py"), {"LANG": "C"}),
    ],
)
def test_unusual_start_is_not_given_to_the_warm_interpreter(
    runner: Runner, argv: tuple[str, ...], env: dict[str, str]
) -> None:
    source = (
        "import os, sys, time\n"
        "print(sys.flags, hash('x') if 'PYTHONHASHSEED' in os.environ else '',"
        " time.tzname, sys.orig_argv, sys.stdout.encoding)"
    )
    files = (
        SourceFile("main.py", source.encode()),
        SourceFile("other.py", source.encode()),
    )

    warm = runner.case(files=files, argv=argv, env=env, prestart="python")

    assert warm.end is End.EXITED
    cold = runner.case(files=files, argv=argv, env=env)
    assert _streams(warm) == _streams(cold)


def test_two_warm_interpreters_have_their_own_hash_seed(runner: Runner) -> None:
    seen = {
        runner.case("print(hash('x'), id(object()))", prestart="python").stdout.head
        for _ in range(2)
    }

    assert len(seen) == 2


def test_interpreter_that_died_waiting_is_replaced(
    plain_backend: PlainBackend,
) -> None:
    agent = plain_backend.prepare("python")
    for pid in children_of(agent):
        os.kill(pid, signal.SIGKILL)
        # On a busy machine the killed may take a while to be dead.
        while _is_alive(pid):
            time.sleep(0.01)

    case = Runner(plain_backend).case("print(1)", prestart="python")

    assert case.stdout.head == b"1\n"


@pytest.mark.parametrize("start", ["", "wrong magic number", "cut off", "other name"])
def test_bytecode_of_another_version_is_compiled_anew(start: str) -> None:
    ((name, content),) = PYTHON_PRESTART.bytecode.items()
    bytecode = {
        "": {},
        "wrong magic number": {name: "00" + content[2:]},
        "cut off": {name: content[:10]},
        "other name": {"sitecustomize.other-1.pyc": content},
    }[start]

    assert _seen_with(replace(PYTHON_PRESTART, bytecode=bytecode)) == UNSEEN


def test_bytecode_is_used_without_a_look_at_the_source() -> None:
    altered = {"sitecustomize.py": "import os; os._exit(1)"}

    assert _seen_with(replace(PYTHON_PRESTART, files=altered)) == UNSEEN


def _seen_with(prestart: Prestart) -> bytes:
    """Return what a program sees of the start, and whether it was started ahead."""
    source = (
        "import os\n"
        "print(os.listdir('.'), os.listdir(os.environ['TMPDIR']),"
        " b'PYTHONPATH' in open('/proc/self/environ', 'rb').read())"
    )
    backend = PlainBackend([prestart])
    try:
        return Runner(backend).case(source, prestart=prestart.key).stdout.head
    finally:
        backend.close()


def test_unknown_prestart_is_an_ordinary_start(runner: Runner) -> None:
    case = runner.case("print(1)", prestart="no-such")

    assert case.stdout.head == b"1\n"


def _is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def children_of(parent: int) -> list[int]:
    """Wait for the first child of a process; return all there are."""
    give_up_at = time.monotonic() + 10
    while time.monotonic() < give_up_at:
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(path.parent.name))
        if found:
            return found
        time.sleep(0.02)
    raise TimeoutError


def test_prestart_that_is_not_installed_stands_in_nobodys_way() -> None:
    absent = Prestart(
        "absent",
        ("absent", "x"),
        ("absent", "x"),
        files={"a": "b"},
        bytecode={"a.pyc": "0d0a"},
    )
    backend = PlainBackend([absent])
    try:
        backend.prepare("absent")
        run = Command(("sh", "-c", 'ls -A "$TMPDIR"; echo all the same'), Limits())
        spec = RunSpec("absent", (), run, prestart="absent")
        outcome = outcome_of(backend, spec)
    finally:
        backend.close()
    assert outcome.cases[0].stdout.head == b"all the same\n"
