"""Which runtimes this machine can run.

A toolchain counts only where a sandbox sees it: found on build.SEARCH_PATH, and, once
all links are followed, below a system folder. What is found out is remembered for as
long as the executables stay the same files, in a file too if there is one: asking all
of them takes a second of CPU.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executions import runtimes as declared
from executions.runtimes.base import Runtime
from executions.runtimes.build import BASE_ENV, SEARCH_PATH

# What a sandbox shows of the machine, read-only.
SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
VERSION_TIMEOUT_S = 20.0

_NUMBER = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found of one runtime; `problem` is "" when it is available."""

    runtime: Runtime
    version: str = ""
    problem: str = ""

    @property
    def is_available(self) -> bool:
        return not self.problem


Fingerprint = tuple[tuple[str, int, int], ...]
_remembered: dict[str, tuple[Fingerprint, Probe]] = {}
_lock = threading.Lock()
_file: Path | None = None


def keep_in(path: Path | None) -> None:
    """Share versions with other processes through this file from now on."""
    global _file  # noqa: PLW0603 - one per process is the point
    with _lock:
        _file = path


def is_available(runtime: Runtime) -> bool:
    """Tell whether the toolchain is there. Costs a few stats, and starts nothing."""
    return not _missing(runtime)


def probe(runtime: Runtime) -> Probe:
    """Return what this machine has of a runtime, starting it once for its version."""
    if missing := _missing(runtime):
        return Probe(runtime, problem=_how_to_get(runtime, missing))
    now = fingerprint(runtime)
    with _lock:
        known = _remembered.get(runtime.key)
    if known and known[0] == now and known[1].runtime is runtime:
        return known[1]
    found = _read(runtime, now)
    if found is None:
        found = _start(runtime)
        _write(now, found)
    with _lock:
        _remembered[runtime.key] = (now, found)
    return found


def probe_all(runtimes: Iterable[Runtime]) -> list[Probe]:
    """Probe several at once, as each waits mostly for a process; in the given order."""
    with ThreadPoolExecutor(max_workers=(os.cpu_count() or 1) * 2) as pool:
        return list(pool.map(probe, runtimes))


def executables(runtime: Runtime) -> list[str]:
    """Name the toolchain's programs; what the compiler makes is not among them."""
    commands = (runtime.run, runtime.compile or (), runtime.version)
    names = (command[0] for command in commands if command)
    return sorted({name for name in names if not name.startswith(("./", "{"))})


def find(name: str) -> str | None:
    """Return where a sandbox finds this executable, or None."""
    path = shutil.which(name, path=SEARCH_PATH)
    if path is None:
        return None
    real = Path(path).resolve()
    return path if any(real.is_relative_to(f) for f in SYSTEM_FOLDERS) else None


def fingerprint(runtime: Runtime) -> Fingerprint:
    """Return what changes when the toolchain, which must be there, is another one."""
    return tuple(_identity(name) for name in executables(runtime))


def _missing(runtime: Runtime) -> list[str]:
    return [name for name in executables(runtime) if find(name) is None]


def _how_to_get(runtime: Runtime, missing: list[str]) -> str:
    are = "is" if len(missing) == 1 else "are"
    packages = " ".join(runtime.packages)
    return f"{', '.join(missing)} {are} not installed; Debian package: {packages}"


def _identity(name: str) -> tuple[str, int, int]:
    path = find(name) or name
    stat = Path(path).stat()
    return path, stat.st_mtime_ns, stat.st_size


def _start(runtime: Runtime) -> Probe:
    name, *arguments = runtime.version
    try:
        done = subprocess.run(  # noqa: S603 - argv is the runtime's own
            [find(name) or name, *arguments],
            env=dict(BASE_ENV),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Probe(runtime, problem=f"{name} does not start: {error}")
    lines = (done.stdout + done.stderr).decode(errors="replace").splitlines()
    if done.returncode != 0:
        how = f"{' '.join(runtime.version)} exited with {done.returncode}"
        return Probe(runtime, problem=": ".join([how, *lines[:1]]))
    line = next((line for line in lines if any(map(str.isdigit, line))), "")
    number = _NUMBER.search(line)
    return Probe(runtime, version=number[0] if number else line.strip())


def _written_as(runtime: Runtime, now: Fingerprint) -> list[Any]:
    return [[list(each) for each in now], list(runtime.version)]


def _entries(path: Path) -> dict[str, Any]:
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _read(runtime: Runtime, now: Fingerprint) -> Probe | None:
    with _lock:
        entry = _entries(_file).get(runtime.key) if _file else None
    match entry:
        case {"of": of, "version": str(version)} if of == _written_as(runtime, now):
            return Probe(runtime, version=version)
    return None


def _write(now: Fingerprint, found: Probe) -> None:
    """Keep a version. What two processes write at once may be lost: no harm is done."""
    global _file  # noqa: PLW0603 - see keep_in
    with _lock:
        if _file is None or not found.is_available:
            return
        of = _written_as(found.runtime, now)
        entries = _entries(_file)
        entries[found.runtime.key] = {"of": of, "version": found.version}
        draft = _file.with_name(f".{_file.name}.{os.getpid()}")
        try:
            draft.write_text(json.dumps(entries))
            draft.replace(_file)
        except OSError:
            _file = None  # such as a file system that is read-only


def told(found: Iterable[Probe]) -> str:
    """Say which runtimes are available, and their versions, for read_told()."""
    return ",".join(f"{p.runtime.key}={p.version}" for p in found if p.is_available)


def read_told(text: str) -> dict[str, str]:
    """Return the versions by key of what told() said."""
    pairs = (each.partition("=") for each in text.strip().split(",") if each)
    return {key: version for key, _, version in pairs}


if __name__ == "__main__":
    sys.stdout.write(told(probe_all(declared.all())) + "\n")
