"""Run fault scenarios: `python -m executions.tests.faults [ROW...] [--rounds N]`."""

from __future__ import annotations

import argparse
import random
import secrets
import signal
import sys
import time
import traceback

from executions.tests.faults.scenarios import SCENARIOS


def run_one(row: str, seed: int) -> bool:
    """Run one scenario once; print its seed first, so that a hang is repeatable too."""
    print(f"{row} seed {seed} …", flush=True)
    began = time.monotonic()
    try:
        told = SCENARIOS[row](random.Random(seed))
    except Exception:  # noqa: BLE001 - the boundary: one failure must not end the rest
        traceback.print_exc()
        print(f"{row} seed {seed} FAILED", flush=True)
        return False
    took_s = time.monotonic() - began
    print(f"{row} seed {seed} ok in {took_s:.0f} s: {told}", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", choices=[*SCENARIOS, []], metavar="ROW")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="of the first round")
    options = parser.parse_args()
    # Either ends what was started, also where a shell has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    first = secrets.randbelow(2**31) if options.seed is None else options.seed
    results = [
        run_one(row, first + n)
        for n in range(options.rounds)
        for row in options.rows or SCENARIOS
    ]
    failed = results.count(False)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
