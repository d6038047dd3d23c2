"""The sandbox as a library, in a process that knows nothing of Django."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.jail
ROOT = Path(__file__).parents[3]


def script(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_script_runs_a_program() -> None:
    printed = script(
        "from executions.sandbox import run\n"
        'outcome = run(["python3", "-c", "print(6 * 7)"])\n'
        "print(outcome.cases[0].stdout.head)\n"
        "import sys; assert 'django' not in sys.modules"
    )
    assert printed == "b'42\\n'\n"


def test_script_builds_and_feeds_a_program() -> None:
    printed = script(
        "from executions.sandbox import run\n"
        'outcome = run(["sh", "built.sh"], files={"a.txt": "cat"}, stdin=b"hello",\n'
        '              build=["cp", "a.txt", "built.sh"])\n'
        "print(outcome.cases[0].stdout.head.decode(), outcome.compile.exit_code)"
    )
    assert printed == "hello 0\n"
