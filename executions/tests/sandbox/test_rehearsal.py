"""What a zygote goes through by itself before its jails do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from executions.sandbox.rehearsal import LIVES

pytestmark = pytest.mark.jail

ROOT = Path(__file__).resolve().parents[3]
MAIN = """
import os, signal, sys
from executions.sandbox import jail, linux
from executions.sandbox.rehearsal import Rehearsal

if os.geteuid():
    jail._enter_user_namespace(0)
linux.unshare(linux.CLONE_NEWNS)
before = os.listdir("/proc/self/fd")
rehearsal = Rehearsal(int(sys.argv[1]))
lives = 0
while rehearsal.left:
    rehearsal.go_on()
    lives += 1
assert os.listdir("/proc/self/fd") == before, os.listdir("/proc/self/fd")
assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
assert signal.set_wakeup_fd(-1) == -1
assert os.getcwd() == "/"
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print(lives)
"""


@pytest.mark.parametrize("version", [1, 2])
def test_every_life_goes_well_and_leaves_nothing(version: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, str(version)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (str(LIVES), "")
