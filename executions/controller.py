"""Keeps the pool of waiting pods: makes them, and takes away what nobody needs.

A plain loop, like the scheduler's. All that it knows is in the rows of pool.py and in
the watch, so it may be killed at any moment, and two of it do no harm: rows are
inserted one controller at a time, each before its pod is created, and counted then.
"""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, InterfaceError, connection, transaction

from executions import sql
from executions.models import Execution
from executions.pool import Counts, SandboxPod, State
from executions.sandbox import canary, pods
from executions.sandbox.counters import Counters
from executions.sandbox.kubernetes import WARM_PREFIX, KubernetesBackend
from executions.sandbox.manifests import KEY_LABEL, PROFILE_LABEL, Kind, Profile
from executions.sandbox.watch import Seen

logger = logging.getLogger(__name__)

LOOK_S = 0.2
SWEEP_S = 5.0
ORPHAN_S = 30.0
"""How old a pod is at least that nobody knows of before it is taken away."""
LOST_S = 30.0
"""A row older than this whose pod the watch does not know has none."""
REPEAT_S = 2.0
"""How long a call or a look at an agent that led to nothing is not repeated."""
SILENT_S = 90.0
"""A pod that has an address, and so long after it was asked for no agent, is bad."""
HOLD_S = 10.0
"""How long no pod of a kind is made after one could not be."""
CREATES_PER_S = 10.0
BURST = 25
STARTING_MOST = 20
THREADS = 8
OVER = "over"
UNKNOWN = "unknown"
"""Why a pod was an orphan: its run is over, or no row knows of it."""
_LOCK = 0x506F6F6C  # any number that nobody else locks
_RATE_S = 30.0
_MARGIN_S = 1.0
_SPREAD = 3.0
_USUAL_START_S = 2.0


@dataclass(frozen=True, slots=True)
class Size:
    """How many pods of a kind wait: between these, as the arrivals ask."""

    minimum: int
    maximum: int


@dataclass(slots=True)
class Demand:
    """How fast runs of a kind arrive, and how long a pod takes to become ready."""

    per_s: float = 0.0
    start_s: float = _USUAL_START_S
    _at: float = field(default_factory=time.monotonic)

    def note(self, arrivals: int, now: float) -> None:
        """Let `arrivals` since the last call count, and older ones count less."""
        passed = max(now - self._at, 1e-3)
        self._at = now
        weight = 1 - math.exp(-passed / _RATE_S)
        self.per_s += weight * (arrivals / passed - self.per_s)

    def note_start(self, seconds: float) -> None:
        self.start_s += 0.2 * (seconds - self.start_s)

    def target(self, size: Size) -> int:
        """Return how many should wait: what arrives while one starts, and some more."""
        expected = self.per_s * (self.start_s + _MARGIN_S)
        spread = _SPREAD * math.sqrt(self.per_s * self.start_s)
        return max(size.minimum, min(size.maximum, math.ceil(expected + spread)))


class Allowance:
    """A token bucket: so many at once, and then so many a second."""

    def __init__(self, burst: int, per_s: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._left = float(burst)
        self._at = time.monotonic()

    def take(self, wanted: int) -> int:
        """Return how many of these are allowed now."""
        now = time.monotonic()
        grown = self._left + (now - self._at) * self._per_s
        self._left, self._at = min(self._burst, grown), now
        allowed = min(wanted, int(self._left))
        self._left -= allowed
        return allowed


class Controller:
    """`run` loops until `stop` is called, from another thread or a signal handler."""

    def __init__(self, backend: KubernetesBackend, sizes: Mapping[Kind, Size]) -> None:
        self._backend = backend
        self._sizes = {kind.name: size for kind, size in sizes.items()}
        self._kinds = {kind.name: kind for kind in sizes}
        self._templates = {k.name: backend.template(k) for k in sizes}
        self.demands = {name: Demand() for name in self._kinds}
        self.orphans = Counters((OVER,), (UNKNOWN,))
        self._allowance = Allowance(BURST, CREATES_PER_S)
        self._held_until = dict.fromkeys(self._kinds, 0.0)
        # Apart: agents may be slow to answer, and nothing shall wait for that.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pool")
        self._greeters = ThreadPoolExecutor(STARTING_MOST, thread_name_prefix="greet")
        self._began = time.monotonic()
        self._calls: dict[tuple[str, str], Future[object]] = {}
        self._not_before: dict[tuple[str, str], float] = {}
        self._arrived: set[str] = set()
        self._over: set[str] = set()
        self._next_sweep = 0.0
        self._is_stopping = threading.Event()

    def stop(self) -> None:
        self._is_stopping.set()

    def run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                self.look()
            except (DatabaseError, InterfaceError) as error:
                logger.warning("the database is away: %s", error)
                connection.close()
                self._is_stopping.wait(1)
            except Exception:  # the controller's task boundary
                logger.exception("the controller stumbled")
                self._is_stopping.wait(1)
            self._is_stopping.wait(LOOK_S)
        for threads in (self._threads, self._greeters):
            threads.shutdown(cancel_futures=True)
        connection.close()

    def targets(self) -> dict[str, int]:
        """Return how many pods of each kind should wait."""
        return {
            name: self.demands[name].target(size) for name, size in self._sizes.items()
        }

    def look(self) -> None:
        """See to every row once, and to what is missing."""
        if not self._backend.watch.wait_listed(LOOK_S):
            return  # workers go on with what is ready
        now = time.monotonic()
        self._forget_calls(now)
        rows = list(SandboxPod.objects.with_age())
        self._count_arrivals(rows, now)
        for row in rows:
            self._see_to(row, self._backend.watch.get(row.name))
        counts = SandboxPod.objects.counts()
        for kind in self._kinds.values():
            self._fill(kind, counts, now)
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_S
            self._sweep(rows)

    # --- each row --------------------------------------------------------------------

    def _see_to(self, row: SandboxPod, seen: Seen | None) -> None:
        # A list of pods can be older than a young pod.
        is_gone = seen.is_gone if seen else row.age_s > LOST_S
        if row.state == State.STARTING:
            self._see_to_starting(row, seen)
        elif row.state == State.READY:
            has_ended = seen is not None and pods.fate(seen.pod) is not None
            if is_gone or has_ended or self._is_stale(row):
                SandboxPod.objects.retire([row.name], [State.READY])
        elif row.state == State.ENDING:
            if is_gone:
                SandboxPod.objects.filter(name=row.name, state=State.ENDING).delete()
            elif seen is None or not pods.is_ending(seen.pod):
                self._once("delete", row.name, self._deletion(row.name, row.uid))

    def _see_to_starting(self, row: SandboxPod, seen: Seen | None) -> None:
        kind = self._kinds.get(row.kind)
        if self._is_stale(row) or (seen and seen.is_gone):
            SandboxPod.objects.retire([row.name], [State.STARTING])
            return
        if kind is None:
            return  # another controller's
        if seen is None:
            self._once("create", row.name, lambda: self._create(row.name, kind))
            return
        if (ended := pods.fate(seen.pod)) is not None:
            logger.warning("the waiting pod %s ended: %s", row.name, ended[1])
            self._hold(row.kind)
            SandboxPod.objects.retire([row.name], [State.STARTING])
            return
        problem = pods.problem(seen.pod)
        if problem is not None:
            # It is kept, and no other is made, until there is room or an image.
            logger.info("the waiting pod %s does not start: %s", row.name, problem.text)
            self._hold(row.kind)
        elif address := pods.address(seen.pod):
            if row.age_s > SILENT_S:
                logger.warning("the agent in pod %s does not answer", row.name)
                self._hold(row.kind)
                SandboxPod.objects.retire([row.name], [State.STARTING])
                return
            self._once(
                "greet",
                row.name,
                lambda: self._backend.greet(row.name, address),
                lambda: self._ready(row, address, pods.uid(seen.pod)),
            )

    def _ready(self, row: SandboxPod, address: str, uid: str) -> None:
        if SandboxPod.objects.mark_ready(row.name, address, uid):
            self.demands[row.kind].note_start(row.age_s)

    def _is_stale(self, row: SandboxPod) -> bool:
        if row.age_s > self._backend.cluster.waiting_s:
            return True
        # Not of a controller that was started later, with other settings.
        is_older = row.age_s > time.monotonic() - self._began
        return is_older and row.template != self._templates.get(row.kind)

    # --- what is missing -------------------------------------------------------------

    def _count_arrivals(self, rows: list[SandboxPod], now: float) -> None:
        """Count the runs that came since: those with a waiting pod, and those without.

        Each is seen for as long as its pod is there.
        """
        there = {row.name: row.kind for row in rows if row.taken_at is not None}
        for seen in self._backend.watch.all():
            if pods.label(seen.pod, KEY_LABEL) and not pods.is_fenced(seen.pod):
                there[pods.name(seen.pod)] = pods.label(seen.pod, PROFILE_LABEL)
        counts = dict.fromkeys(self._kinds, 0)
        for name in there.keys() - self._arrived:
            for kind in self._suited(there[name]):
                counts[kind] += 1
        self._arrived = set(there)
        for kind, count in counts.items():
            self.demands[kind].note(count, now)

    def _suited(self, name: str) -> list[str]:
        """Return the kinds that serve a kind, or all of a profile."""
        if name in self._kinds:
            return [name]
        return [k for k, kind in self._kinds.items() if kind.profile.name == name]

    def _hold(self, kind: str) -> None:
        self._held_until[kind] = time.monotonic() + HOLD_S

    def _fill(self, kind: Kind, counts: Counts, now: float) -> None:
        if now < self._held_until[kind.name]:
            return
        target = self.demands[kind.name].target(self._sizes[kind.name])
        starting = counts.get((kind.name, State.STARTING), 0)
        missing = min(target - _waiting(counts, kind), STARTING_MOST - starting)
        if missing > 0 and (allowed := self._allowance.take(missing)):
            self._insert(kind, target, allowed)

    def _insert(self, kind: Kind, target: int, allowed: int) -> None:
        """Insert rows for pods to be created: never more than there should be.

        One controller at a time, and it counts again: another may just have done so.
        """
        with transaction.atomic():
            if sql.is_postgresql():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            counts = SandboxPod.objects.counts()
            missing = min(target - _waiting(counts, kind), allowed)
            template = self._templates[kind.name]
            SandboxPod.objects.bulk_create(
                SandboxPod(name=_new_name(), kind=kind.name, template=template)
                for _ in range(missing)
            )

    # --- what nobody needs -----------------------------------------------------------

    def _sweep(self, rows: list[SandboxPod]) -> None:
        """Take away pods whose run is over, and those that nobody knows of."""
        known = {row.name for row in rows}
        cluster = self._backend.cluster
        busy = {
            row.key: row.name
            for row in rows
            if row.state == State.BUSY
            and row.key
            and _may_be_over(row.key, row.age_s, cluster.waiting_s + cluster.deadline_s)
        }
        keys = dict(busy)
        for seen in self._backend.watch.all():
            name, key = pods.name(seen.pod), pods.label(seen.pod, KEY_LABEL)
            if seen.is_gone or pods.is_ending(seen.pod) or seen.age_s < ORPHAN_S:
                continue
            if key:
                if _may_be_over(key, seen.age_s, cluster.deadline_s):
                    keys[key] = name
            elif name not in known and not _may_be_canary(seen):
                logger.warning("pod %s is nobody's: it goes", name)
                self._once("delete", name, self._removal(seen, UNKNOWN))
        over = keys.keys() - Execution.objects.active(keys)
        # Not at first sight: a worker has its pod deleted just after the run is over.
        left = [busy[key] for key in over & self._over if key in busy]
        self._over = over
        SandboxPod.objects.retire(left, [State.BUSY])
        for name in left:
            its = self._backend.watch.get(name)
            if its is not None and not its.is_gone:
                self.orphans.add(OVER)
        for name in (keys[key] for key in over if key not in busy):
            its = self._backend.watch.get(name)
            if its is not None:
                self._once("delete", name, self._removal(its, OVER))

    # --- calls, beside the loop ------------------------------------------------------

    def _create(self, name: str, kind: Kind) -> None:
        token = self._backend.token(name)
        made = self._backend.api.create(
            kind.pod(name, self._backend.cluster, token=token)
        )
        self._backend.watch.tell(made)

    def _removal(self, seen: Seen, cause: str) -> Callable[[], None]:
        def remove() -> None:
            self._backend.api.delete(pods.name(seen.pod), pods.uid(seen.pod))
            if not pods.is_fenced(seen.pod):
                self.orphans.add(cause)

        return remove

    def _deletion(self, name: str, uid: str) -> Callable[[], None]:
        return lambda: self._backend.api.delete(name, uid)

    def _once(
        self,
        verb: str,
        name: str,
        call: Callable[[], object],
        then: Callable[[], None] | None = None,
    ) -> None:
        """Have a thread do something for a pod, unless that is or was just done.

        `then` is called by a later look, once it went well.
        """
        what = verb, name
        done = self._calls.get(what)
        if done is not None:
            if not done.done():
                return
            del self._calls[what]
            if (error := done.exception()) is not None:
                logger.info("%s pod %s: %s", verb, name, error)
            elif then is not None:
                then()
                return
        if time.monotonic() >= self._not_before.get(what, 0.0):
            self._not_before[what] = time.monotonic() + REPEAT_S
            threads = self._greeters if verb == "greet" else self._threads
            self._calls[what] = threads.submit(call)

    def _forget_calls(self, now: float) -> None:
        for what in [w for w, at in self._not_before.items() if at < now - REPEAT_S]:
            done = self._calls.get(what)
            if done is None or (done.done() and self._not_before[what] < now - 60):
                del self._not_before[what]
                self._calls.pop(what, None)


def sizes_from(
    setting: Mapping[str, Any], profiles: Mapping[str, Profile]
) -> dict[Kind, Size]:
    """Return the kinds of pods that wait, and how many, as SANDBOX_POOL says.

    It maps "<profile>" or "<profile>.<prestart>" to the least and the most. Raises
    ValueError, naming what is wrong.
    """
    sizes = {}
    for name, numbers in setting.items():
        profile, _, prestart = name.partition(".")
        if profile not in profiles:
            raise ValueError(f"{name}: there is no profile {profile}")
        try:
            minimum, maximum = map(int, numbers)
        except (TypeError, ValueError):
            raise ValueError(
                f"{name}: two numbers are wanted, the least and the most"
            ) from None
        if not 0 <= minimum <= maximum:
            raise ValueError(f"{name}: the least may be from 0 to the most")
        sizes[Kind(profiles[profile], prestart)] = Size(minimum, maximum)
    return sizes


def _waiting(counts: Counts, kind: Kind) -> int:
    """Return how many pods of a kind wait, or will."""
    return sum(counts.get((kind.name, s), 0) for s in (State.STARTING, State.READY))


def _may_be_over(key: str, age_s: float, longest_s: float) -> bool:
    """Whether to ask if a run goes on: a self-test's, which has no row, does at first.

    Nobody but its pod's deadline ends one whose command was killed.
    """
    return Execution.is_key(key) or age_s > longest_s


def _may_be_canary(seen: Seen) -> bool:
    """Whether it is the pod of a canary that somebody may still be making."""
    is_young = seen.age_s < canary.DEADLINE_S
    return is_young and pods.name(seen.pod).startswith(canary.PREFIX)


def _new_name() -> str:
    return f"{WARM_PREFIX}{secrets.token_hex(8)}"
