"""What a worker counts of its runs; metrics.py reads it when somebody asks."""

from __future__ import annotations

from executions.sandbox.counters import Counters, Durations
from executions.verdicts import Verdict

STAGES = ("sandbox", "first_output", "program", "record")
CANCELLED = "cancelled"
EXPIRED = "expired"
HANDED_OVER = "handed_over"


class Tally:
    """Counters of one worker.

    `waits` is how long runs that were due waited for their claim; `stages`, from there,
    how long it took to give the program to its sandbox, from then on to its first
    output and to its end, and to record that. `runs` counts recorded runs by verdict,
    `adopted` those of other workers: which had HANDED_OVER, or let the lease expire.
    """

    def __init__(self) -> None:
        self.waits = Durations()
        self.stages = {stage: Durations() for stage in STAGES}
        self.runs = Counters(*((str(each),) for each in Verdict), (CANCELLED,))
        self.adopted = Counters((EXPIRED,), (HANDED_OVER,))
        self.postponed = Counters(())
        self.failed_attempts = Counters(())
