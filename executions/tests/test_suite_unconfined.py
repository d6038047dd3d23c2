"""The suite can fail: without a sandbox, the confinement part does."""

from __future__ import annotations

import pytest

from executions.tests.suites import unconfined


@pytest.mark.slow
def test_suite_fails_without_a_sandbox() -> None:
    faults = unconfined.faults()
    escaped = [
        ident
        for ident, texts in faults.items()
        if any(text.startswith("ACHIEVED") for text in texts)
    ]
    assert len(faults) >= 15
    assert len(escaped) >= 0.8 * len(faults), faults
