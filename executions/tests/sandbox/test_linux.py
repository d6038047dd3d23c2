from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from executions.sandbox import linux

ROOT = Path(__file__).parents[3]


def in_child(code: str) -> subprocess.CompletedProcess[str]:
    """Run code that changes its process for good in one of its own."""
    start = "import os\nfrom executions.sandbox import linux\n"
    return subprocess.run(
        [sys.executable, "-c", start + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_errors_are_real() -> None:
    with pytest.raises(FileNotFoundError, match="umount /nowhere"):
        linux.unmount("/nowhere")
    with pytest.raises(OSError, match="fsconfig"):
        linux.resize_tmpfs(0, size="1")


def test_closing_the_gaps_keeps_what_is_between_them() -> None:
    done = in_child(
        "kept = [os.open('/dev/null', os.O_RDONLY) for _ in range(20)][3::5]\n"
        "linux.close_ranges(linux.gaps_between([0, 1, 2, *kept]))\n"
        "left = set(map(int, os.listdir('/proc/self/fd')))\n"
        "print(len(left - {0, 1, 2, *kept}) == 1, left >= {0, 1, 2, *kept})"
    )
    # One more is what listing them takes.
    assert done.stdout == "True True\n", done.stderr


def test_clone_gives_a_child_that_runs_python() -> None:
    done = in_child(
        "import threading\n"
        "pid = linux.clone(0)\n"
        "if not pid:\n"
        "    t = threading.Thread(target=lambda: print('thread', flush=True))\n"
        "    t.start(); t.join(); inner = os.fork()\n"
        "    if not inner: os._exit(3)\n"
        "    os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]) + 4)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert done.stdout == "thread\n7\n", done.stderr


def test_command_line_can_be_replaced() -> None:
    done = in_child(
        "linux.set_command_line('other')\n"
        "print(open('/proc/self/cmdline', 'rb').read().rstrip(b'\\0'))"
    )
    assert done.stdout == "b'other'\n", done.stderr


def test_tree_is_bound_with_all_that_is_mounted_below(tmp_path: Path) -> None:
    (tmp_path / "a" / "b c").mkdir(parents=True)
    (tmp_path / "shown").mkdir()
    done = in_child(
        f"os.chdir({str(tmp_path)!r})\n"
        "uid, gid = os.getuid(), os.getgid()\n"
        "linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)\n"
        "for name, text in (('setgroups', 'deny'), ('uid_map', f'0 {uid} 1'),"
        " ('gid_map', f'0 {gid} 1')):\n"
        "    open(f'/proc/self/{name}', 'w').write(text)\n"
        "linux.mount('tmpfs', 'a/b c', 'tmpfs', 0)\n"
        "open('a/b c/seen', 'w').close()\n"
        "linux.bind_tree('a', 'shown', linux.MS_RDONLY | linux.MS_NOSUID)\n"
        "print(os.listdir('shown/b c'))\n"
        "for path in ('shown/x', 'shown/b c/x', 'a/b c/x'):\n"
        "    try: open(path, 'w').close(); print('written')\n"
        "    except OSError as error: print(error.strerror)\n"
        "print(bool(os.statvfs('shown/b c').f_flag & os.ST_NOSUID))"
    )
    assert done.stdout.splitlines() == [
        "['seen']",
        *["Read-only file system"] * 2,
        "written",
        "True",
    ], done.stderr


def test_child_dies_with_its_parent() -> None:
    read, write = os.pipe()
    parent = os.fork()
    if not parent:
        if not os.fork():
            linux.die_with_parent(signal.SIGKILL)
            os.write(write, b"x")
            signal.pause()
        signal.pause()
    os.close(write)
    assert os.read(read, 1) == b"x"
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    # The pipe ends when the grandchild, its last holder, has ended.
    assert os.read(read, 1) == b""
    os.close(read)


def test_signals_get_their_default_back() -> None:
    done = in_child(
        "import signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('handled'))\n"
        "linux.default_signal(signal.SIGTERM)\n"
        "os.kill(os.getpid(), signal.SIGTERM)"
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")


def test_filter_of_bad_code_is_refused() -> None:
    done = in_child(
        "linux.no_new_privileges()\n"
        "try: linux.Filter(b'\\0' * 8).install()\n"
        "except OSError as error: print(error.strerror)"
    )
    assert done.stdout == "Invalid argument\n", done.stderr
