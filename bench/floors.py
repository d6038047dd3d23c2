"""What the machine itself needs: the least that any product could take."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from executions import runtimes
from executions.runtimes import build, probe

HELLO_PYTHON = "print('hello')\n"
HELLO_CPP = '#include <iostream>\nint main() { std::cout << "hello\\n"; }\n'
CLIENTS = 8

# The usual unprivileged box: own namespaces, read-only system, private scratch.
BUBBLEWRAP = (
    *("bwrap", "--unshare-all", "--die-with-parent", "--new-session"),
    *("--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin"),
    *("--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
    *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
)


def start(argv: Sequence[str], *, folder: Path | None = None) -> float:
    """Run one command to its end, its output thrown away; return the seconds it took.

    Raises ChildProcessError when it fails, so that a floor is never a failure's time.
    """
    null = os.open(os.devnull, os.O_RDWR)
    # posix_spawn cannot change folder; the shell-free way is env(1).
    command = ["env", "-C", str(folder), *argv] if folder else list(argv)
    try:
        began = time.perf_counter()
        pid = os.posix_spawnp(
            command[0],
            command,
            {"PATH": build.SEARCH_PATH, "LANG": "C.UTF-8"},
            file_actions=[(os.POSIX_SPAWN_DUP2, null, n) for n in range(3)],
        )
        _, status = os.waitpid(pid, 0)
        took = time.perf_counter() - began
    finally:
        os.close(null)
    if status != 0:
        raise ChildProcessError(f"{' '.join(command)}: wait status {status}")
    return took


def interpreter() -> str:
    """The Python that programs get, which need not be the one this runs on."""
    return probe.find("python3") or "/usr/bin/python3"


def plain_python() -> float:
    return start((interpreter(), "-c", "pass"))


def bubblewrap_python() -> float:
    return start((*BUBBLEWRAP, interpreter(), "-c", "pass"))


def compile_and_run_cpp() -> float:
    """g++ and the program it makes, with the flags that the product uses."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        (folder / "main.cpp").write_text(HELLO_CPP)
        cpp = runtimes.get("cpp")
        words = [
            word.replace("{sources}", "main.cpp").replace("{entry}", "main.cpp")
            for word in cpp.compile or ()
        ]
        compiler = shutil.which(words[0], path=build.SEARCH_PATH) or words[0]
        compiled = start((compiler, *words[1:]), folder=folder)
        return compiled + start((str(folder / "a.out"),))


def at_once(action: Callable[[], object], seconds: float, threads: int) -> float:
    """Repeat `action` in so many threads for about `seconds`; return how many a second.

    Raises what an action raised.
    """
    counts = [0] * threads
    errors: list[BaseException] = []
    end = time.perf_counter() + seconds

    def repeat(index: int) -> None:
        try:
            while time.perf_counter() < end and not errors:
                action()
                counts[index] += 1
        except Exception as error:  # noqa: BLE001 - handed to the caller's thread
            errors.append(error)

    workers = [threading.Thread(target=repeat, args=(n,)) for n in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took = time.perf_counter() - began
    if errors:
        raise errors[0]
    return sum(counts) / took


def start_rate(seconds: float) -> float:
    """Plain starts of Python a second, with as many at once as there are clients."""
    return at_once(plain_python, seconds, CLIENTS)
