"""What a round did to the host: bait changed, visitors, bystanders, names left."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

from executions.tests.suites.bait import FOLDERS, Bait

Facts = dict[str, object]

# What a program that got out would like to change, and what the next run would execute.
SYSTEM_FILES = (
    "/etc/passwd",
    "/etc/shadow",
    "/etc/ld.so.cache",
    "/etc/hosts",
    "/usr/bin/env",
    "/usr/bin/python3",
    "/usr/bin/gcc",
    "/bin/sh",
)
SWITCHES = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/vm/overcommit_memory",
)
CLOCK_TOLERANCE_S = 5


def facts(laid: Bait) -> Facts:
    """Note the state of everything that no program may change."""
    assert laid.process is not None
    found: Facts = {str(path): _file(path) for path in laid.files}
    found |= {name: _digest(Path(name)) for name in SYSTEM_FILES}
    found |= {name: _digest(Path(name)) for name in SWITCHES}
    found["priority of the bystander"] = os.getpriority(
        os.PRIO_PROCESS, laid.process.pid
    )
    found["clock"] = round((time.time() - time.monotonic()) / CLOCK_TOLERANCE_S)
    return found


def faults(before: Facts, laid: Bait) -> list[str]:
    """Return, in plain words, what is not as it was."""
    now = facts(laid)
    found = [f"changed: {name}" for name, fact in before.items() if now[name] != fact]
    found += [f"{count} visits to {name}" for name, count in laid.visits().items()]
    process = laid.process
    if process is None or process.poll() is not None:
        found.append("the bystander was killed")
    elif "\nState:\tT" in Path(f"/proc/{process.pid}/status").read_text():
        found.append("the bystander was stopped")
    return [*found, *_names_left(laid.nonce)]


def _file(path: Path) -> object:
    try:
        stat = path.lstat()
        content = path.read_bytes()
    except OSError as error:
        return str(error)
    return content, *(stat.st_mode, stat.st_uid, stat.st_nlink, stat.st_mtime_ns)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return str(error)


def _names_left(nonce: str) -> list[str]:
    """Return what programs must have made in the shared folders."""
    found = []
    for folder in (*FOLDERS, str(Path.home())):
        with contextlib.suppress(OSError):
            found += [
                f"left: {path}"
                for path in Path(folder).iterdir()
                if nonce in path.name and not path.name.startswith("suite-bait-")
            ]
    return found
