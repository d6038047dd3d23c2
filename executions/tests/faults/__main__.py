"""Run fault scenarios: `python -m executions.tests.faults [ROW...] [--rounds N]`."""

from __future__ import annotations

import argparse
import contextlib
import random
import secrets
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from executions.tests.faults.scenarios import SCENARIOS, Scenario
from testing.deployment import template

Rounds = Callable[[], contextlib.AbstractContextManager[Scenario]]
"""Yields what can be called once for each round, as long as none fails."""


def run_rounds(rounds: Rounds, row: str, seeds: list[int]) -> int:
    """Run a scenario once for each seed; return how many rounds failed.

    A round that failed ends what it ran in: the next one gets another.
    """
    failed = 0
    waiting = list(seeds)
    while waiting:
        seed = waiting[0]
        try:
            with rounds() as once:
                while waiting:
                    seed = waiting.pop(0)
                    _run_one(once, row, seed)
        except Exception:  # noqa: BLE001 - the boundary: one failure must not end the rest
            if seed in waiting:
                waiting.remove(seed)
            traceback.print_exc()
            print(f"{row} seed {seed} FAILED", flush=True)
            failed += 1
    return failed


def _run_one(once: Scenario, row: str, seed: int) -> None:
    """Print the seed first, so that a hang is repeatable too."""
    print(f"{row} seed {seed} …", flush=True)
    began = time.monotonic()
    told = once(random.Random(seed))
    took_s = time.monotonic() - began
    print(f"{row} seed {seed} ok in {took_s:.0f} s: {told}", flush=True)


def run_apart(module: str, row: str, seeds: list[int]) -> int:
    """Run a scenario in a process of its own, so that several go at once."""
    words = (row, "--rounds", str(len(seeds)), "--seed", str(seeds[0]))
    process = subprocess.Popen(
        [sys.executable, "-m", module, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    failed = len(seeds)
    # As it comes, but for the count of its own, which is the last line.
    for line in process.stdout:
        if line.endswith(" failed\n") and " passed, " in line:
            failed = int(line.split()[2])
        else:
            print(line, end="", flush=True)
    process.wait()
    return failed


def main(
    scenarios: Mapping[str, Rounds],
    module: str,
    *,
    alone: Collection[str] = (),
    apart: int = 1,
) -> int:
    """Run what the command line asks for; `module` is what runs one of them apart.

    Those of `alone` run only when they are named. With --jobs, one process runs
    `apart` rounds of a scenario at most.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*scenarios, []], metavar="ROW")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="of the first round")
    parser.add_argument("--jobs", type=int, default=1, help="scenarios at once")
    options = parser.parse_args()
    # Either ends what was started, also where a shell has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    first = secrets.randbelow(2**31) if options.seed is None else options.seed
    seeds = [first + n for n in range(options.rounds)]
    rows = options.rows or [row for row in scenarios if row not in alone]
    if options.jobs > 1:
        template()  # once for all of them
        parts = [
            (row, seeds[at : at + apart])
            for row in rows
            for at in range(0, len(seeds), apart)
        ]
        with ThreadPoolExecutor(options.jobs) as pool:
            failed = sum(pool.map(lambda part: run_apart(module, *part), parts))
    else:
        failed = sum(run_rounds(scenarios[row], row, seeds) for row in rows)
    print(f"{len(rows) * len(seeds) - failed} passed, {failed} failed")
    return 1 if failed else 0


def each_alone(scenarios: Mapping[str, Scenario]) -> dict[str, Rounds]:
    """Return the rounds of scenarios that bring up all they need in each."""
    return {
        row: lambda scenario=scenario: contextlib.nullcontext(scenario)  # type: ignore[misc]
        for row, scenario in scenarios.items()
    }


if __name__ == "__main__":
    sys.exit(main(each_alone(SCENARIOS), "executions.tests.faults"))
