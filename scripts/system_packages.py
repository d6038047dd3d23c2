"""Bring the Debian packages that are missing, or print the one line that does.

Runs on the plain interpreter, before there is a virtual environment.

    python3 -m scripts.system_packages run [RUNTIME…]    toolchains
    python3 -m scripts.system_packages test              and what the tests start
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from executions import runtimes
from executions.runtimes import probe

# A program that tells whether the package is there, and the package.
FOR_TESTS = {
    "initdb": "postgresql",
    "redis-server": "redis-server",
    "chromium": "chromium",
    "linux.uml": "user-mode-linux",
    "bwrap": "bubblewrap",
    "gcc": "gcc",
    "setpriv": "util-linux",
    "ip": "iproute2",
}
OFF_PATH = "/usr/lib/postgresql"
SYSTEM_PYTHON = "/usr/bin/python3"


def has_program(name: str) -> bool:
    if shutil.which(name):
        return True
    return any(Path(OFF_PATH).glob(f"*/bin/{name}"))


def missing_for_python() -> list[str]:
    return [] if importlib.util.find_spec("ensurepip") else ["python3-venv"]


def missing_for_speed() -> list[str]:
    """What lets the system's own Python be used, the fastest one (see Makefile)."""
    if not Path(SYSTEM_PYTHON).exists():
        return []
    tried = subprocess.run(
        [SYSTEM_PYTHON, "-c", "import ensurepip"], check=False, capture_output=True
    )
    return ["python3-venv"] if tried.returncode else []


def missing_for_runtimes(names: list[str]) -> list[str]:
    chosen = [runtimes.get(name) for name in names] or runtimes.all()
    return [
        package
        for runtime in chosen
        if not probe.is_available(runtime)
        for package in runtime.packages
    ]


def missing_for_tests() -> list[str]:
    return [
        package for program, package in FOR_TESTS.items() if not has_program(program)
    ]


def install(packages: list[str]) -> int:
    """Install with apt-get, its progress shown; return its exit status."""
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-q"]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*apt, "update"], env=env, check=False)
    command = [*apt, "install", "-y", "--no-install-recommends", *packages]
    return subprocess.run(command, env=env, check=False).returncode


def explain(packages: list[str], *, needed: bool) -> None:
    """Print what to type, and what is missing until then."""
    line = f"sudo apt-get install -y --no-install-recommends {' '.join(packages)}"
    print("These Debian packages are missing; one line brings them:\n")
    print(f"    {line}\n")
    if not needed:
        print("Going on without them: their languages are listed as unavailable.\n")


def main(arguments: list[str]) -> int:
    purpose, names = arguments[0], arguments[1:]
    needed = missing_for_python()
    if purpose == "test":
        needed += missing_for_tests()
    # The tests run programs in every language; a server goes on with what is there.
    toolchains = [*missing_for_speed(), *missing_for_runtimes(names)]
    is_needed = bool(needed) or purpose == "test"
    packages = sorted({*needed, *toolchains})
    if not packages:
        return 0
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        explain(packages, needed=is_needed)
        return int(is_needed)
    print("Installing Debian packages:", *packages, flush=True)
    if install(packages) != 0:
        explain(packages, needed=is_needed)
        return int(is_needed)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except runtimes.UnknownRuntime as error:
        sys.exit(str(error))
