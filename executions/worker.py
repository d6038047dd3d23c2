"""One worker process: its runs, and the thread that keeps their leases.

Celery's threads call `attend` when a bell rings. Beside them one thread, the keeper,
says that programs are running, renews leases, adopts runs that nobody owns any more,
and hands everything over when the process has to stop.
"""

from __future__ import annotations

import heapq
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, connection

from executions import backends, bells, channel, leases, services
from executions.channel import Channel, ChannelDown
from executions.leases import Lease, Trust
from executions.models import Execution
from executions.news import NewsDesk
from executions.runs import Run
from executions.sandbox.base import Backend, NoSandboxNow, SandboxError
from executions.tally import EXPIRED, HANDED_OVER, Tally
from platform_site import connections

logger = logging.getLogger(__name__)

MARK_AFTER_S = 0.25
"""Programs that end sooner are never marked as running: it would be one write more.
With 0.05 a busy worker wrote it for most short runs, a quarter of its CPU time."""
TICK_S = 0.1
STAY_S = 5.0
"""How long a thread that has nothing to do any more stays for the next bell."""
HEAR_S = 0.5
"""How long it listens before it looks whether the worker is to stop."""
SILENCE_S = 10.0
"""How long a sandbox that is past its deadline has to report a kill."""


class Worker:
    """One per process; `start` it before `attend` is called."""

    def __init__(
        self, backend: Backend, news_channel: Channel, *, name: str = ""
    ) -> None:
        self.backend = backend
        self.channel = news_channel
        self.name = name or f"{settings.WORKER_NAME}:{os.getpid()}"
        self.news = NewsDesk(news_channel)
        self.tally = Tally()
        self.is_stopping = threading.Event()
        self.must_leave = False
        self.hands_over = True
        self._lock = threading.Lock()
        self._runs: dict[UUID, Run] = {}
        self._keeper = Keeper(self)

    def start(self) -> None:
        self._keeper.start()

    # Claims.

    def attend(self) -> None:
        """Work, and again at each bell that this thread hears; what bells call.

        Returns when none was heard for a while. Celery reads no message while all its
        threads are here, so a busy worker's bells wait for the next thread that asks.
        """
        self.work()
        while self._hears_bell():
            self.work()

    def _hears_bell(self) -> bool:
        deadline = time.monotonic() + STAY_S
        try:
            while time.monotonic() < deadline and not self.is_stopping.is_set():
                if bells.hear(HEAR_S):
                    return True
        except bells.BrokerAway as error:
            logger.debug("the broker is away: %s", error)
        return False

    def work(self) -> None:
        """Claim and run until nothing is due."""
        has_more = True
        while has_more and not self.is_stopping.is_set():
            lease = leases.new(self.name)
            execution = self._claim(lease)
            if execution is None:
                return
            has_more = execution.has_more
            self.tally.waits.add(execution.waited_s)
            self.run(execution, lease)

    def work_on(self, pk: UUID) -> bool:
        """Claim and run this execution; False when it is not queued any more."""
        lease = leases.new(self.name)
        execution = Execution.objects.claim(pk, lease, self.backend.scope)
        if execution is None:
            return False
        self.tally.waits.add(execution.waited_s)
        self.run(execution, lease)
        return True

    def _claim(self, lease: Lease) -> Execution | None:
        try:
            return Execution.objects.claim_next(lease, self.backend.scope)
        except (DatabaseError, InterfaceError) as error:
            # Rows stay where they are; the scheduler rings when the database is back.
            self._keeper.doubt(error)
            connection.close()
            return None
        finally:
            connections.rest()

    def run(
        self, execution: Execution, lease: Lease, *, is_adopted: bool = False
    ) -> None:
        """Follow one execution to its end; never raises."""
        run = Run(self, execution, lease)
        with self._lock:
            self._runs[lease.id] = run
        try:
            services.run(run, is_adopted=is_adopted)
        finally:
            with self._lock:
                del self._runs[lease.id]
            connections.rest()

    def _adopt(self, execution: Execution, lease: Lease) -> None:
        """Follow a run in a thread of its own."""
        self.run(execution, lease, is_adopted=True)
        connections.end()

    def adopt(self, execution: Execution, lease: Lease) -> None:
        name = f"adopted-{execution.key}"
        threading.Thread(target=self._adopt, args=(execution, lease), name=name).start()

    def runs(self) -> list[Run]:
        with self._lock:
            return list(self._runs.values())

    def find(self, lease_id: UUID) -> Run | None:
        with self._lock:
            return self._runs.get(lease_id)

    def sent(self, run: Run) -> None:
        """A program was sent to its sandbox: it will soon be marked as running."""
        self._keeper.expect(run)

    def ring_in(self, seconds: float) -> None:
        """Ring the bell after a while."""
        self._keeper.at(seconds, bells.ring)

    # The end.

    def stop(self, *, hands_over: bool = True) -> None:
        """Claim nothing more, and hand over what runs; safe in a signal handler."""
        self.hands_over = hands_over
        self.is_stopping.set()

    def wait(self, timeout_s: float) -> bool:
        """Block until no run is left; False when some are."""
        deadline = time.monotonic() + timeout_s
        while self.runs() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self.runs()

    def pass_bells_on(self) -> None:
        """Ring for what is due: bells that this worker had taken are lost with it."""
        try:
            due = Execution.objects.due().count()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("nobody was told what is due: %s", error)
        else:
            bells.ring(min(due, settings.WORKER_CONCURRENCY))
        finally:
            connection.close()

    def send_back(self) -> None:
        """Kill what runs; it is queued again."""
        for run in self.runs():
            run.send_back()

    def close(self) -> None:
        """End the keeper; call after `stop` and `wait`."""
        self.must_leave = True
        self.is_stopping.set()
        self._keeper.close()
        self.news.close()


class Keeper:
    """The worker's own thread. Every step may fail when the database is away."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._wake = threading.Condition()
        self._jobs: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0
        self._unmarked: list[tuple[float, Run]] = []
        self._is_closed = False
        self._trust = Trust()
        self._thread = threading.Thread(target=self._loop, name="keeper", daemon=True)
        self._tidying: threading.Thread | None = None

    def start(self) -> None:
        self._every(settings.LEASE_RENEW_S, self._renew)
        self._every(settings.LEASE_LOOK_S, self._look)
        self._every(settings.LEASE_RENEW_S, self._tidy_beside)
        # The first moment at which it may adopt what a killed worker left.
        self.at(settings.LEASE_LENGTH_S + 0.1, self._look)
        self._thread.start()

    def close(self) -> None:
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(10)

    def at(self, seconds: float, job: Callable[[], object]) -> None:
        """Have the thread call `job` after a while."""
        with self._wake:
            self._count += 1
            due = time.monotonic() + seconds
            heapq.heappush(self._jobs, (due, self._count, job))
            if self._jobs[0][1] == self._count:
                self._wake.notify()

    def expect(self, run: Run) -> None:
        """See soon whether it still runs. Wakes nobody: most end sooner."""
        with self._wake:
            self._unmarked.append((time.monotonic() + MARK_AFTER_S, run))

    def doubt(self, error: Exception) -> None:
        """The database did not answer: leases that run out meanwhile prove nothing."""
        if self._trust.lose():
            logger.warning("the database is away: %s", error)

    def _every(self, seconds: float, step: Callable[[], None]) -> None:
        def job() -> None:
            try:
                step()
            finally:
                self.at(seconds, job)

        self.at(0, job)

    def _loop(self) -> None:
        while not self._is_closed:
            job = self._next()
            if job is None:
                continue
            try:
                job()
            except (DatabaseError, InterfaceError) as error:
                self.doubt(error)
                connection.close()
            except Exception:  # the keeper's task boundary
                logger.exception("the keeper stumbled")

    def _next(self) -> Callable[[], object] | None:
        """Wait for the next job; None when there was something else to see to."""
        worker = self._worker
        if worker.is_stopping.is_set() and worker.hands_over:
            # Again and again: a run may have been claimed in the last moment.
            self._release_all()
        with self._wake:
            wait_s = self._jobs[0][0] - time.monotonic() if self._jobs else TICK_S
            if wait_s <= 0:
                return heapq.heappop(self._jobs)[2]
            # A signal handler can only set a flag: look at it often enough.
            self._wake.wait(min(wait_s, TICK_S))
            return self._mark if self._unmarked else None

    # Steps.

    def _mark(self) -> None:
        now = time.monotonic()
        with self._wake:
            waiting = self._unmarked
            self._unmarked = [each for each in waiting if each[0] > now]
        running = [run for due, run in waiting if due <= now and run.is_in_sandbox]
        if running:
            Execution.objects.mark_running([run.lease for run in running])
            connections.rest()

    def _renew(self) -> None:
        """Renew every lease in one statement; see to runs that changed hands."""
        worker = self._worker
        self._beat()
        runs = worker.runs()
        asked_at = time.monotonic()
        held = Execution.objects.extend([run.lease for run in runs])
        connections.rest()
        for run in runs:
            if run.lease.id in held:
                run.lease.renew(asked_at)
                if held[run.lease.id]:
                    run.cancel()
            elif worker.find(run.lease.id) is run:
                run.lose()
        for run in runs:
            self._chase(run)

    def _chase(self, run: Run) -> None:
        """Have a run started again whose sandbox does not keep its deadline."""
        if run.overdue_s > 0:
            reason = "the sandbox did not end by its deadline"
            run.abandon(reason, is_silent=run.overdue_s > SILENCE_S)

    def _beat(self) -> None:
        try:
            self._worker.channel.beat(self._worker.name, settings.LEASE_LENGTH_S)
        except ChannelDown as error:
            logger.debug("no heartbeat: %s", error)

    def _look(self) -> None:
        """Adopt the runs that this worker can reach and nobody owns."""
        worker = self._worker
        limit = 2 * settings.WORKER_CONCURRENCY
        while not worker.is_stopping.is_set() and len(worker.runs()) < limit:
            lease = leases.new(worker.name)
            execution = Execution.objects.adopt_next(
                lease, worker.backend.scope, judges=self._trust.is_earned
            )
            connections.rest()
            if execution is None:
                return
            cause = EXPIRED if execution.was_expired else HANDED_OVER
            worker.tally.adopted.add(cause)
            logger.info("run %s is adopted", execution.key)
            worker.adopt(execution, lease)

    def _tidy_beside(self) -> None:
        """In a thread of its own: sandboxes may be slow to answer, leases are not."""
        if self._tidying is None or not self._tidying.is_alive():
            self._tidying = threading.Thread(
                target=self._tidy, name="tidy", daemon=True
            )
            self._tidying.start()

    def _tidy(self) -> None:
        """End sandboxes that nobody will ask any more.

        A worker that dies between storing an outcome and acknowledging it leaves one.
        """
        worker = self._worker
        own = {run.execution.key for run in worker.runs()}
        try:
            others = set(worker.backend.held()) - own
        except SandboxError:
            return  # what runs need of it, they say themselves
        if not others:
            return
        try:
            settled = Execution.objects.settled(others)
        except (DatabaseError, InterfaceError):
            return  # next time
        finally:
            connections.end()
        for key in settled:
            logger.info("run %s has ended: its sandbox goes", key)
            worker.backend.discard(key)

    def _release_all(self) -> None:
        for run in self._worker.runs():
            run.release()


@cache
def current() -> Worker:
    """Return the worker of this process, started."""
    worker = Worker(backends.current(), channel.current())
    worker.start()
    return worker


def start() -> Worker:
    """Return the worker of this process once programs can be run here.

    Waits for the database, and for whoever knows whether programs can run. What keeps
    the backend from running them ends the process, in one line for each reason: such a
    worker would only spoil attempts.
    """
    problems = _problems()
    for problem in problems:
        logger.critical("programs cannot be run here: %s", problem)
    if problems:
        raise SystemExit(1)
    _wait_for_database()
    worker = current()
    if settings.METRICS_PORT:
        # Imported here: nearly 1 MB that most processes do not need.
        from executions import metrics  # noqa: PLC0415

        metrics.serve(metrics.of_worker(worker))
    return worker


def _problems() -> list[str]:
    is_waiting = False
    while True:
        try:
            return backends.current().problems()
        except NoSandboxNow as error:
            if not is_waiting:
                logger.warning("waiting for sandboxes: %s", error)
            is_waiting = True
            time.sleep(1)
        except (SandboxError, ImproperlyConfigured) as error:
            return [str(error)]


def _wait_for_database() -> None:
    is_waiting = False
    while True:
        try:
            # Past the pool, which would keep the reason to itself.
            with connection.wrap_database_errors:
                database: Any = connection
                parameters = database.get_connection_params()
                database.Database.connect(**parameters).close()
        except (DatabaseError, InterfaceError) as error:
            if not is_waiting:
                logger.warning("waiting for the database: %s", error)
            is_waiting = True
            time.sleep(1)
        else:
            return
