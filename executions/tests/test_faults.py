"""One round of every fault scenario; all rounds: `make test-faults`."""

from __future__ import annotations

import random
import secrets

import pytest

from executions.tests.faults.scenarios import SCENARIOS


@pytest.mark.fault
@pytest.mark.jail
@pytest.mark.parametrize("row", SCENARIOS)
def test_fault_loses_and_doubles_nothing(row: str) -> None:
    seed = secrets.randbelow(2**31)
    # Shown when the test fails; also the argument that repeats it.
    print(f"python -m executions.tests.faults {row} --rounds 1 --seed {seed}")
    assert SCENARIOS[row](random.Random(seed))
