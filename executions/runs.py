"""One run, followed by one thread of a worker from its claim to its stored outcome.

The row belongs to the run as long as its lease holds; when it does not any more, the
run lets go of the sandbox without a word. Whatever the thread waits for, it holds no
database connection meanwhile.
"""

from __future__ import annotations

import base64
import logging
import math
import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from executions import bells, outcomes, runtimes
from executions.channel import Control, News
from executions.limits import KIB, Limits
from executions.models import FINAL, Execution
from executions.runtimes import build
from executions.sandbox.base import (
    Case,
    Event,
    Finished,
    NeverStarted,
    NoSandboxNow,
    Outcome,
    OutputChunk,
    RunSpec,
    SandboxDetached,
    SandboxError,
    SandboxGone,
    SandboxUnavailable,
    Session,
    SourceFile,
    StageStarted,
)
from executions.tally import CANCELLED

if TYPE_CHECKING:
    from executions.leases import Lease
    from executions.worker import Worker

logger = logging.getLogger(__name__)

LIVE_BYTES = 1024 * KIB
"""How much of a run's output is shown live; all of what is kept comes with the row."""

RETRY_FIRST_S = 0.1
RETRY_MOST_S = 2.0
ATTEMPT_DELAY_S = 1.0
POSTPONED_S = 3.0
"""How long a run waits in the queue again for which no sandbox was to be had."""

T = TypeVar("T")


class LeaseLost(Exception):
    """Somebody else owns the run now."""


class Run:
    """Follows one execution; `follow` is called once, by the thread it belongs to."""

    def __init__(self, worker: Worker, execution: Execution, lease: Lease) -> None:
        self.worker = worker
        self.execution = execution
        self.lease = lease
        self.claimed_at = time.monotonic()
        # Since the claim; unknown of a run that was claimed by another worker.
        self.sent_ms: float | None = None
        self.first_output_ms: float | None = None
        self.ended_ms: float | None = None
        self._is_adopted = False
        self._is_asked_for = False
        self._is_sent = False
        self._has_ended = False
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._is_cancelled = execution.cancel_requested_at is not None
        self._is_released = False
        self._is_lost = False
        self._is_sent_back = False
        self._fault = ""
        self._live_bytes = 0

    # What other threads may ask of it.

    def cancel(self) -> None:
        """Kill the program; the outcome so far is recorded."""
        with self._lock:
            self._is_cancelled = True
            session = self._session
        if session is not None:
            session.cancel()

    def release(self) -> None:
        """Stop following and let another worker do so."""
        self._let_go(is_lost=False)

    def lose(self) -> None:
        """Stop following: the lease is somebody else's."""
        self._let_go(is_lost=True)

    def send_back(self) -> None:
        """Kill the program; the run is queued again."""
        self._is_sent_back = True
        self.cancel()

    def abandon(self, reason: str, *, is_silent: bool) -> None:
        """Kill the program, as the sandbox is no good; the run starts again.

        One that is silent would not answer: then do not wait for it.
        """
        self._fault = reason
        session = self._session
        if is_silent:
            self._let_go(is_lost=False)
        elif session is not None:
            session.cancel()

    def discard(self) -> None:
        """Kill the program of a run that has its outcome, whatever it may say."""
        self.worker.backend.discard(self.execution.key)

    def _let_go(self, *, is_lost: bool) -> None:
        with self._lock:
            if self._has_ended:
                return
            self._is_released = True
            self._is_lost = self._is_lost or is_lost
            session = self._session
        if session is not None:
            session.detach()

    @property
    def is_in_sandbox(self) -> bool:
        return self._is_sent and not self._has_ended

    @property
    def overdue_s(self) -> float:
        """Seconds since the sandbox should have ended by itself; negative before.

        Counts from when it got the program: until then the backend has bounds of its
        own, and gives up by itself.
        """
        if not self._is_sent:
            return -math.inf
        waited_s = 0.0 if self.sent_ms is None else self.sent_ms / 1000
        elapsed = time.monotonic() - self.claimed_at - waited_s
        return elapsed - self.execution.budget_ms / 1000

    # The run.

    def follow(self, *, is_adopted: bool) -> None:
        """Start the program, or attach to it, and see it through."""
        self._is_adopted = is_adopted
        channel = self.worker.channel
        with channel.listen(self.execution.id, self._receive, late=is_adopted):
            try:
                outcome = self._see_through()
            except SandboxDetached:
                if self._fault:
                    self.try_again(self._fault)
                elif self._is_cancelled and not self._is_in_doubt:
                    self.discard()
                    self._finish(None)
                else:
                    self._hand_over()
            except LeaseLost:
                logger.info("run %s: the lease was lost", self.execution.key)
            except SandboxUnavailable as error:
                self._unavailable(error)
            except NeverStarted as error:
                # Its owner was lost, which is no fault of the run.
                logger.info("run %s starts again: %s", self.execution.key, error)
                self._queue_again()
                bells.ring()
            except SandboxGone as error:
                self.try_again(_why(error))
            except SandboxError as error:
                # It may live, and the next attempt shall be the only one that does.
                self.discard()
                self.try_again(_why(error))
            else:
                self._finish(outcome)

    def _see_through(self) -> Outcome | None:
        """Return the outcome, or None when it was cancelled before it started."""
        if self._is_cancelled and not self._is_adopted:
            return None
        # Built first: between the look at the lease and the start is nothing slow.
        spec = None if self._is_adopted else spec_of(self.execution)
        self._check()
        backend = self.worker.backend
        if spec is None:
            session = backend.attach(self.execution.key, self._is_wanted)
        else:
            self._is_asked_for = True
            session = backend.start(spec, self._is_wanted)
        with self._lock:
            self._session = session
            # First: whoever finds it sent counts from this time.
            self.sent_ms = self._elapsed_ms()
            self._is_sent = True
            is_released, is_cancelled = self._is_released, self._is_cancelled
        if is_released:
            session.detach()
        elif is_cancelled:
            session.cancel()
        self.worker.sent(self)
        for event in session.events():
            if isinstance(event, Finished):
                with self._lock:
                    self._has_ended = True
                    self.ended_ms = self._elapsed_ms()
                return event.outcome
            self._tell(event)
        raise SandboxGone("the sandbox fell silent")

    def _check(self) -> None:
        """Go on only as the owner, and not while the worker is stopping."""
        if self._is_lost or not self.lease.is_valid:
            raise LeaseLost
        if self._is_released:
            raise SandboxDetached

    def _is_wanted(self) -> bool:
        """Tell a backend that waits for a sandbox whether to go on."""
        is_cut = self._is_cancelled and not self._is_adopted
        return not (is_cut or self._is_released) and self.lease.is_valid

    @property
    def _is_in_doubt(self) -> bool:
        """Whether the program may run without us."""
        return self._is_sent or self._is_adopted

    def _tell(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            fields: dict[str, Any] = {"stage": event.stage, "case": event.case or 0}
            self._pass_on(News("stage", fields))
            return
        if not isinstance(event, OutputChunk):
            return
        if self.first_output_ms is None and event.stage == "run":
            self.first_output_ms = self._elapsed_ms()
        if self._live_bytes >= LIVE_BYTES:
            return
        data = event.data[: LIVE_BYTES - self._live_bytes]
        self._live_bytes += len(data)
        fields = {
            "stage": event.stage,
            "case": event.case or 0,
            "stream": event.stream,
            "offset": event.offset,
        }
        self._pass_on(News("output", fields, data))

    def _pass_on(self, news: News) -> None:
        started_at = self.claimed_at + (self.sent_ms or 0) / 1000
        self.worker.news.add(self.execution.id, news, started_at=started_at)

    def _receive(self, control: Control) -> None:
        session = self._session
        try:
            if control.kind == "cancel":
                self.cancel()
            elif session is None:
                return
            elif control.kind == "stdin":
                session.send_stdin(control.data)
            elif control.kind == "close_stdin":
                session.close_stdin()
            elif control.kind == "signal":
                session.signal(control.number)
        except (SandboxError, BufferError) as error:
            logger.info("run %s: %s was not delivered: %s",
                        self.execution.key, control.kind, error)  # fmt: skip

    # How it ends.

    def _finish(self, outcome: Outcome | None) -> None:
        was_cut = outcome is None or outcomes.is_cancelled(outcome)
        if was_cut and self._is_sent_back:
            self._queue_again()
            return
        if was_cut and self._fault and not self._is_cancelled:
            self.try_again(self._fault)
            if self._session is not None:
                self._session.acknowledge()
            return
        if outcome is None:
            columns: dict[str, Any] = {
                "verdict": None,
                "reason": "cancelled before it started",
            }
        else:
            columns = outcomes.columns(outcome)
        is_stored = self.record(columns)
        session = self._session
        if session is None:
            return
        if is_stored:
            session.acknowledge()
        else:
            session.detach()

    def _queue_again(self) -> None:
        self._insist(lambda: Execution.objects.requeue(self.execution, self.lease))
        if self._session is not None:
            self._session.acknowledge()

    def record(self, columns: dict[str, Any]) -> bool:
        """Store how the run ended and say so; False when it goes on elsewhere."""
        timed = {**self._times(), **columns}
        objects = Execution.objects
        is_stored = self._insist(
            lambda: objects.record(self.execution, self.lease, **timed)
        ) or self._insist(
            # The answer to an earlier try may have been lost, not the change.
            lambda: objects.filter(pk=self.execution.pk, status__in=FINAL).exists()
        )
        if is_stored:
            recorded_ms = self._elapsed_ms()
            status = "cancelled" if columns["verdict"] is None else "finished"
            self.worker.news.finish(
                self.execution.id, News("finished", {"status": status})
            )
            self._count(columns["verdict"], recorded_ms)
        return is_stored

    def _times(self) -> dict[str, int | None]:
        if self._is_adopted:
            return {}
        times = {
            "sent_ms": self.sent_ms,
            "first_output_ms": self.first_output_ms,
            "ended_ms": self.ended_ms,
        }
        return {name: None if ms is None else int(ms) for name, ms in times.items()}

    def _count(self, verdict: str | None, recorded_ms: float) -> None:
        tally = self.worker.tally
        tally.runs.add(str(verdict or CANCELLED))
        if self._is_adopted:
            return
        sent, output, ended = self.sent_ms, self.first_output_ms, self.ended_ms
        spans = {
            "sandbox": (0.0, sent),
            "first_output": (sent, output),
            "program": (sent, ended),
            "record": (ended, recorded_ms),
        }
        for stage, (since, until) in spans.items():
            if since is not None and until is not None:
                tally.stages[stage].add((until - since) / 1000)

    def _hand_over(self) -> None:
        """Give the run to whoever comes; nobody has to wait for the lease to end."""
        if self._is_lost:
            return
        objects = Execution.objects
        if self._is_in_doubt:
            self._insist(
                lambda: objects.hand_over(
                    self.execution, self.lease, is_first=not self._is_adopted
                )
            )
            return
        if self._is_asked_for:
            # Nothing ran, but its key is used up.
            self.discard()
            self._insist(lambda: objects.requeue(self.execution, self.lease))
        else:
            self._insist(lambda: objects.give_back(self.execution, self.lease))
        bells.ring()

    def _unavailable(self, error: SandboxUnavailable) -> None:
        if self._is_adopted:
            # The sandbox may live: only its own deadline ends the waiting for it.
            self._insist(
                lambda: Execution.objects.hand_over(self.execution, self.lease)
            )
            return
        if isinstance(error, NoSandboxNow) and self._is_postponed(_why(error)):
            return
        self.try_again(_why(error), delay_s=ATTEMPT_DELAY_S)

    def _is_postponed(self, why: str) -> bool:
        """Queue the run again, at no cost for it; False after too long a time."""
        delay = timedelta(seconds=POSTPONED_S * random.uniform(0.5, 1.5))  # noqa: S311
        logger.info("run %s waits: %s", self.execution.key, why)
        objects = Execution.objects
        if not self._insist(
            lambda: objects.postpone(self.execution, self.lease, delay, why)
        ):
            return False
        self.worker.tally.postponed.add()
        self.worker.ring_in(delay.total_seconds())
        return True

    def try_again(self, reason: str, *, delay_s: float = 0.0) -> None:
        """Have the run started again, or give it up after too many attempts."""
        execution = self.execution
        failures = execution.failures + 1
        self.worker.tally.failed_attempts.add()
        if failures >= settings.MAX_ATTEMPTS:
            logger.error("run %s given up: %s", execution.key, reason)
            tries = f"{failures} attempts"
            self.record(outcomes.failure(f"the platform failed in {tries}: {reason}"))
            return
        logger.warning("run %s starts again: %s", execution.key, reason)
        delay = timedelta(seconds=delay_s * 3**execution.failures)
        objects = Execution.objects
        if self._insist(lambda: objects.retry(execution, self.lease, delay, reason)):
            self.worker.ring_in(delay.total_seconds())

    def _insist(self, change: Callable[[], bool]) -> bool:
        """Make a change of the row, for as long as it takes the database to come back.

        A worker that has to go leaves it: the lease ends, and another attaches to the
        sandbox, which keeps the outcome until it was acknowledged.
        """
        pause_s = RETRY_FIRST_S
        level = logging.WARNING
        while True:
            try:
                return change()
            except (OperationalError, InterfaceError) as error:
                connection.close()
                if self.worker.must_leave:
                    logger.warning(
                        "run %s is left behind: %s", self.execution.key, error
                    )
                    return False
                key = self.execution.key
                logger.log(level, "run %s waits for the database: %s", key, error)
                level = logging.DEBUG
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_MOST_S)

    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self.claimed_at) * 1000


def spec_of(execution: Execution) -> RunSpec:
    """Return what the sandbox is told. Raises UnknownRuntime."""
    return build.spec(
        runtimes.get(execution.runtime),
        key=execution.key,
        files=[
            SourceFile(file["path"], base64.b64decode(file["content"]))
            for file in execution.files
        ],
        entry=execution.entry_point,
        limits=Limits(**execution.limits),
        compile_limits=Limits(**execution.compile_limits),
        cases=(Case(bytes(execution.stdin), tuple(execution.args)),),
        env=execution.env,
    )


def _why(error: SandboxError) -> str:
    what = {
        SandboxGone: "the sandbox is gone",
        SandboxUnavailable: "no sandbox could be started",
    }.get(type(error), "the sandbox failed")
    return f"{what}: {error}" if str(error) else what
