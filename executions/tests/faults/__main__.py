"""Run fault scenarios: `python -m executions.tests.faults [ROW...] [--rounds N]`."""

from __future__ import annotations

import argparse
import random
import secrets
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from executions.tests.faults.scenarios import SCENARIOS, Scenario
from testing.deployment import template


def run_one(scenarios: Mapping[str, Scenario], row: str, seed: int) -> bool:
    """Run one scenario once; print its seed first, so that a hang is repeatable too."""
    print(f"{row} seed {seed} …", flush=True)
    began = time.monotonic()
    try:
        told = scenarios[row](random.Random(seed))
    except Exception:  # noqa: BLE001 - the boundary: one failure must not end the rest
        traceback.print_exc()
        print(f"{row} seed {seed} FAILED", flush=True)
        return False
    took_s = time.monotonic() - began
    print(f"{row} seed {seed} ok in {took_s:.0f} s: {told}", flush=True)
    return True


def run_apart(module: str, row: str, seed: int) -> bool:
    """Run one scenario in a process of its own, so that several go at once."""
    words = (row, "--rounds", "1", "--seed", str(seed))
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # All but its own count, in one piece.
    print("\n".join(done.stdout.splitlines()[:-1]), flush=True)
    return done.returncode == 0


def main(scenarios: Mapping[str, Scenario], module: str) -> int:
    """Run what the command line asks for; `module` is what runs one of them apart."""
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
    rounds = [
        (row, first + n)
        for n in range(options.rounds)
        for row in options.rows or scenarios
    ]
    if options.jobs > 1:
        template()  # once for all of them
        with ThreadPoolExecutor(options.jobs) as pool:
            results = list(pool.map(lambda each: run_apart(module, *each), rounds))
    else:
        results = [run_one(scenarios, row, seed) for row, seed in rounds]
    failed = results.count(False)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(SCENARIOS, "executions.tests.faults"))
