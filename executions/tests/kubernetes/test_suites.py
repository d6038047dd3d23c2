"""A handful of the suites' programs through pods; all: python -m …kubernetes.suites."""

from __future__ import annotations

import pytest

from executions.tests.kubernetes.suites import play
from executions.tests.suites.benign_table import BENIGN
from executions.tests.suites.hostile_table import HOSTILE

pytestmark = pytest.mark.cluster

# Of those that the small image has the languages for.
CHOSEN = frozenset(
    (
        *("S1-create-everywhere", "S2-read-bait", "S2-proc-leaks", "S3-environment"),
        *("S6-fill-disk", "S7-posture", "S7-gain-privileges", "S8-overwrite-runtime"),
        *("S9-privileged-calls", "S10-kernel-surface", "S12-attack-init"),
        *("S12-reach-agent", "S13-double-fork", "S13-nohup", "S15-inflate"),
        *("S16-spin-py", "S17-sleep", "S20-both", "S22-forged-text", "S22-exec-other"),
        *("S26-shared-memory", "S28-leave", "S28-look", "S29-hold", "S29-look"),
        *("S33-sum-python", "S33-given", "S33-every-byte", "S33-near-memory"),
        *("S33-own-network", "S33-shared-memory", "S33-pipeline-sh"),
    )
)


def test_chosen_programs_come_out_as_they_must() -> None:
    programs = [each for each in HOSTILE + BENIGN if each.id in CHOSEN]
    assert len(programs) == len(CHOSEN)
    assert play(programs, clients=4, has_hellos=True) == 0
