"""Run the tests tier by tier, with the servers that each tier needs.

    python -m scripts.test                 every tier
    python -m scripts.test fast db         these
    python -m scripts.test db -- -k claim  arguments after -- go to pytest

PostgreSQL and Redis are started on free ports, in temporary folders, and stopped again,
also after Ctrl-C. Each tier's output is kept in var/test/<tier>.log. Ends with one line
for each tier; the exit status is 1 when any of them failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from testing.servers import Postgres, Redis

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
COLOURS = "--color=yes" if sys.stdout.isatty() else "--color=no"
PYTEST = (PYTHON, "-m", "pytest", "-q", COLOURS, "-p", "no:cacheprovider")
SLOW = "page or fault or load or cluster"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
IN_JAILS = ("jail", "selftest", "page", "fault", "load")
STOP_S = 60

# On another kernel, as a user without root: `make run`, and the jails' own tests.
GUEST = (
    *(PYTHON, "-m", "scripts.uml.run", "--timeout", "1500"),
    *("--env", "VAR_DIR=/tmp/var", "--env", "LEAK_RUNS=24", "--", ".venv/bin/python"),
)
IN_GUEST = (
    (*GUEST, "-m", "scripts.run_local", "--once"),
    (
        *GUEST,
        *PYTEST[1:],
        "-vv",
        "-m",
        "jail and not portable",
        "executions/tests/sandbox",
    ),
)


@dataclass(frozen=True)
class Tier:
    """One step: its commands, and whether it needs PostgreSQL and Redis."""

    commands: tuple[tuple[str, ...], ...]
    timeout_s: int
    needs_servers: bool = False
    is_pytest: bool = True


def pytest(marks: str, *arguments: str) -> tuple[tuple[str, ...], ...]:
    return ((*PYTEST, "-m", marks, *arguments),)


TIERS = {
    "style": Tier(
        (
            (PYTHON, "-m", "ruff", "check", "."),
            (PYTHON, "-m", "ruff", "format", "--check", "."),
            (PYTHON, "manage.py", "makemigrations", "--check", "--dry-run"),
        ),
        timeout_s=120,
        is_pytest=False,
    ),
    "types": Tier(((PYTHON, "-m", "mypy", "."),), timeout_s=600, is_pytest=False),
    # On SQLite and in memory, as the embedded server runs; "quick" is a part of "fast".
    "quick": Tier(
        pytest(f"not (slow or db or jail or {SLOW})", "-n", "auto"), timeout_s=300
    ),
    "fast": Tier(pytest(f"not (db or jail or {SLOW})", "-n", "auto"), timeout_s=600),
    # All of them again, and those marked db, on the servers of a deployment.
    "db": Tier(
        pytest(f"not (jail or {SLOW})"),
        timeout_s=1200,
        needs_servers=True,
    ),
    "jail": Tier(
        pytest("jail and not (fault or load or page)"),
        timeout_s=1800,
        needs_servers=True,
    ),
    "selftest": Tier(
        ((PYTHON, "manage.py", "selftest_runtimes", "--require", "16"),),
        timeout_s=900,
        is_pytest=False,
    ),
    "guest": Tier(IN_GUEST, timeout_s=1600, is_pytest=False),
    "page": Tier(pytest("page"), timeout_s=900, needs_servers=True),
    # Each has servers of its own: two at a time take less than one after the other.
    "fault": Tier(pytest("fault", "-n", "2"), timeout_s=2400),
    # They wait for pods most of the time.
    "cluster": Tier(pytest("cluster", "-n", "3"), timeout_s=1800, needs_servers=True),
    "load": Tier(pytest("load and not fault"), timeout_s=1800, needs_servers=True),
}


@dataclass
class Result:
    tier: str
    is_passed: bool
    seconds: float
    note: str

    def __str__(self) -> str:
        word = "passed" if self.is_passed else "FAILED"
        return f"{self.tier:6} {word} {self.seconds:6.0f} s  {self.note}"


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Start PostgreSQL and Redis; yield the settings that name them."""
    with ExitStack() as stack:
        name = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="test-servers-", dir="/tmp")
        )
        folder = Path(name)
        # PostgreSQL does not run as root: its own account has to get in.
        folder.chmod(0o711)
        postgres = stack.enter_context(Postgres(folder / "postgres"))
        redis = stack.enter_context(Redis(folder / "redis"))
        yield {"DATABASE_URL": postgres.url, "CELERY_BROKER_URL": redis.url}


def delegated() -> tuple[str, ...]:
    """Return the prefix that gives a user without root control groups of their own."""
    if os.geteuid() == 0 or not shutil.which("systemd-run"):
        return ()
    prefix = ("systemd-run", "--user", "--scope", "--quiet", "-p", "Delegate=yes")
    tried = subprocess.run([*prefix, "true"], check=False, capture_output=True)
    return prefix if tried.returncode == 0 else ()


def end_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def stream(
    command: Sequence[str], log: Path, env: dict[str, str], left_s: float
) -> int:
    """Run one command, its output shown and kept; killed after `left_s`."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    timer = threading.Timer(left_s, end_group, [process, signal.SIGKILL])
    timer.start()
    try:
        with log.open("ab") as kept:
            for line in process.stdout or ():
                kept.write(line)
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
        return process.wait()
    except KeyboardInterrupt:
        # Tests get the time to stop what they started.
        end_group(process, signal.SIGINT)
        process.wait(STOP_S)
        raise
    finally:
        timer.cancel()
        end_group(process, signal.SIGKILL)


def run_tier(name: str, log: Path, env: dict[str, str], extra: Sequence[str]) -> Result:
    tier = TIERS[name]
    log.unlink(missing_ok=True)
    print(f"\n== {name}", flush=True)
    began = time.monotonic()
    status = 0
    prefix = delegated() if name in IN_JAILS else ()
    for command in tier.commands:
        left_s = tier.timeout_s - (time.monotonic() - began)
        words = (*prefix, *command, *(extra if tier.is_pytest else ()))
        status = status or stream(words, log, env, left_s)
    took_s = time.monotonic() - began
    # 5: pytest found no test, as when the arguments select those of another tier.
    is_passed = status == 0 or (status == 5 and bool(extra))
    return Result(name, is_passed, took_s, closing_line(log, took_s, tier.timeout_s))


def closing_line(log: Path, took_s: float, timeout_s: float) -> str:
    """Return the last line that the runner printed, such as "12 passed in 3 s"."""
    if took_s >= timeout_s:
        return f"stopped after {timeout_s} s"
    lines = COLOUR.sub("", log.read_text(errors="replace")).split("\n")
    return next((line.strip(" =") for line in reversed(lines) if line.strip()), "")


def run(names: Sequence[str], extra: Sequence[str]) -> list[Result]:
    logs = ROOT / "var" / "test"
    logs.mkdir(parents=True, exist_ok=True)
    results = []
    with ExitStack() as stack:
        # Not the local server's own database and jails: it may be running.
        var = stack.enter_context(tempfile.TemporaryDirectory(prefix="test-var-"))
        found: dict[str, str] = {}
        for name in names:
            if TIERS[name].needs_servers and not found:
                found = stack.enter_context(servers())
            # Nor its settings.
            env = {**os.environ, "VAR_DIR": var, "ENV_FILE": os.devnull}
            env |= found if TIERS[name].needs_servers else {}
            results.append(run_tier(name, logs / f"{name}.log", env, extra))
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the tests tier by tier.")
    parser.add_argument("tiers", nargs="*", metavar="TIER", help=", ".join(TIERS))
    own, extra = split(sys.argv[1:])
    names = parser.parse_args(own).tiers or every_tier()
    if unknown := set(names) - set(TIERS):
        parser.error(f"no such tier: {', '.join(sorted(unknown))}")
    # SIGTERM ends like Ctrl-C, so that no server stays behind.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    try:
        results = run(names, extra)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    print("\n== summary", *results, sep="\n")
    failed = [result.tier for result in results if not result.is_passed]
    print(f"FAILED: {', '.join(failed)}" if failed else "all passed")
    return int(bool(failed))


def every_tier() -> list[str]:
    """Return all that this machine can run; "quick" is a part of "fast"."""
    left_out = {"quick"}
    if not os.environ.get("KUBECONFIG"):
        print("without the tier cluster: KUBECONFIG names none")
        left_out.add("cluster")
    return [name for name in TIERS if name not in left_out]


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Part the arguments at the first "--"; what follows is for pytest."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


if __name__ == "__main__":
    sys.exit(main())
