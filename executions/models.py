"""The truth about every execution, and the only ways its state may change.

Transitions are compare-and-set: one conditional UPDATE that names the old state and the
lease, then a look at the row count. 0 rows means that somebody else was first.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.db import connection, connections, models
from django.db.models.functions import Cast, Now

from executions import sql
from executions.leases import Lease
from executions.pool import SandboxPod
from executions.verdicts import Verdict
from platform_site.connections import statement

__all__ = ["Execution", "IdempotencyKey", "SandboxPod", "Status"]


class Status(models.TextChoices):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"


ACTIVE = (Status.STARTING, Status.RUNNING)
FINAL = (Status.FINISHED, Status.CANCELLED)


class ClockField(models.DateTimeField):  # type: ignore[type-arg]
    """A time that the database's clock writes and that Python's times are held against.

    SQLite compares times as text. Its clock writes three decimals and Django six or
    none, so that one moment would be before itself: pages would begin with the row that
    ended the page before.
    """

    def get_db_prep_value(
        self, value: Any, connection: Any, prepared: bool = False
    ) -> Any:
        adapted = super().get_db_prep_value(value, connection, prepared)
        if connection.vendor != "sqlite" or not isinstance(adapted, str):
            return adapted
        return datetime.fromisoformat(adapted).isoformat(" ", "milliseconds")

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs


class ExecutionQuerySet(models.QuerySet["Execution"]):
    """Reads, and every transition. Each transition is one statement of its own.

    Where the SQL of PostgreSQL and SQLite differs, see executions.sql.
    """

    def visible_to(self, user: Any) -> ExecutionQuerySet:
        """The own executions of a user; staff sees all in the admin."""
        return self.filter(owner=user)

    def without_content(self) -> ExecutionQuerySet:
        """Leave out what may be megabytes: programs, input and output."""
        return self.defer(
            "files", "stdin", "stdout", "stderr", "compile_stdout", "compile_stderr"
        )

    # Queued → starting.

    def claim_next(self, lease: Lease, scope: str) -> Execution | None:
        """Give the next due execution to `lease`, or return None when nothing is due.

        Costs one statement. The caller owns the row until the lease ends. `has_more`
        tells whether another one was due at that moment. Outputs are not loaded.
        """
        return self._claimed(
            sql.claim_next(),
            (_uuid(lease.id), lease.owner, settings.LEASE_LENGTH_S, scope),
        )

    def claim(self, pk: uuid.UUID, lease: Lease, scope: str) -> Execution | None:
        """Give this one to `lease`, or return None when it is not queued any more."""
        return self._claimed(
            sql.claim_one(),
            (_uuid(lease.id), lease.owner, settings.LEASE_LENGTH_S, scope, _uuid(pk)),
        )

    # Starting, running: who owns it.

    def adopt_next(self, lease: Lease, scope: str, *, judges: bool) -> Execution | None:
        """Give a run of this scope that nobody owns any more to `lease`.

        Runs that were handed over come at once; those whose lease ran out only when
        `judges` (see Keeper), and for these `adoptions` counts up. `was_expired`
        tells which. Costs one statement more with `judges`.
        """
        owned = (_uuid(lease.id), lease.owner, settings.LEASE_LENGTH_S, scope)
        execution = self._claimed(sql.adopt_next(), (0, *owned, False))
        if execution is None and judges:
            execution = self._claimed(sql.adopt_next(), (1, *owned, True))
            if execution is not None:
                execution.was_expired = True
        return execution

    def extend(self, leases: Collection[Lease]) -> dict[uuid.UUID, bool]:
        """Renew leases in one statement.

        Returns, for each lease that still holds, whether its run is to be cancelled.
        """
        if not leases:
            return {}
        text = sql.extend(len(leases))
        with connection.cursor() as cursor:
            cursor.execute(
                text, (settings.LEASE_LENGTH_S, *(_uuid(lease.id) for lease in leases))
            )
            return {_as_uuid(found): bool(asked) for found, asked in cursor.fetchall()}

    def settled(self, keys: Collection[str]) -> list[str]:
        """Return those of these keys (see `key`) that no owner will ask for again.

        Their run has ended, or goes on as another attempt. Keys of runs that are not
        stored here are nobody's business.
        """
        return [key for key, row in self._of(keys).items() if not row.is_at(key)]

    def active(self, keys: Collection[str]) -> set[str]:
        """Return those of these keys that are the current attempt of a run that goes
        on."""
        return {key for key, row in self._of(keys).items() if row.is_at(key)}

    def _of(self, keys: Collection[str]) -> dict[str, Execution]:
        """Return the rows that these keys are attempts of, as far as there are any."""
        ids = {}
        for key in keys:
            with contextlib.suppress(ValueError):
                ids[key] = uuid.UUID(key[:36])
        stored = self.only("id", "status", "attempt").in_bulk(set(ids.values()))
        return {key: stored[pk] for key, pk in ids.items() if pk in stored}

    def mark_running(self, leases: Collection[Lease]) -> int:
        """Starting → running for the runs of these leases; returns how many."""
        return self.filter(
            lease_id__in=[lease.id for lease in leases], status=Status.STARTING
        ).update(status=Status.RUNNING, deadline_at=_deadline())

    # Starting, running → finished, cancelled.

    def record(self, execution: Execution, lease: Lease, **outcome: Any) -> bool:
        """Store the outcome, or return False when the run is not `lease`'s any more.

        Past the ORM, which takes five times as long to write the statement as the
        database to execute it; the fields adapt the values all the same.
        """
        is_cut = outcome.get("verdict") is None
        values = {"status": Status.CANCELLED if is_cut else Status.FINISHED, **outcome}
        text, fields = _recording(tuple(values))
        database = connections[self.db]
        params = [
            field.get_db_prep_save(value, database)
            for field, value in zip(fields, values.values(), strict=True)
        ]
        with statement() as cursor:
            cursor.execute(text, (*params, _uuid(execution.pk), _uuid(lease.id)))
            return bool(cursor.rowcount)

    # Starting, running → queued, or to another owner.

    def hand_over(
        self, execution: Execution, lease: Lease, *, is_first: bool = False
    ) -> bool:
        """Let whoever reaches its sandbox follow the run from here, at once.

        By its first owner: it may have been sent a moment ago, and have all its time.
        """
        time = {"deadline_at": _deadline()} if is_first else {}
        changed = self._owned(execution, lease).update(
            lease_id=None, lease_until=Now(), **time
        )
        return bool(changed)

    def give_back(self, execution: Execution, lease: Lease) -> bool:
        """Undo a claim whose sandbox was never asked for: the attempt was none."""
        return self._requeue(execution, lease, attempt=models.F("attempt") - 1)

    def requeue(self, execution: Execution, lease: Lease) -> bool:
        """Let the run start again at once, as another attempt; nothing failed."""
        return self._requeue(execution, lease, due_at=Now())

    def retry(
        self, execution: Execution, lease: Lease, delay: timedelta, why: str
    ) -> bool:
        """Let the run start again after `delay`, as this attempt failed."""
        failures = models.F("failures") + 1
        return self._requeue(
            execution, lease, due_at=_later(delay), failures=failures, reason=why
        )

    def postpone(
        self, execution: Execution, lease: Lease, delay: timedelta, why: str
    ) -> bool:
        """Let the run start again after `delay`: no sandbox was to be had.

        False also when it has been queued for SANDBOX_PATIENCE_S already.
        """
        patience = timedelta(seconds=settings.SANDBOX_PATIENCE_S)
        patient = self.filter(queued_at__gt=Now() - patience)
        return patient._requeue(execution, lease, due_at=_later(delay), reason=why)

    def _requeue(self, execution: Execution, lease: Lease, **changes: Any) -> bool:
        changed = self._owned(execution, lease).update(
            status=Status.QUEUED,
            lease_id=None,
            lease_until=None,
            adoptions=0,
            **changes,
        )
        return bool(changed)

    def _owned(self, execution: Execution, lease: Lease) -> ExecutionQuerySet:
        return self.filter(pk=execution.pk, lease_id=lease.id, status__in=ACTIVE)

    # Cancel.

    def cancel_queued(self, pk: uuid.UUID) -> bool:
        """Queued → cancelled."""
        changed = self.filter(pk=pk, status=Status.QUEUED).update(
            status=Status.CANCELLED,
            cancel_requested_at=Now(),
            recorded_at=Now(),
            reason="cancelled before it started",
        )
        return bool(changed)

    def request_cancel(self, pk: uuid.UUID) -> bool:
        """Ask the owner to cancel; the first request counts."""
        changed = self.filter(
            pk=pk, status__in=ACTIVE, cancel_requested_at=None
        ).update(cancel_requested_at=Now())
        return bool(changed)

    # What a sweep looks for.

    def due(self) -> ExecutionQuerySet:
        return self.filter(status=Status.QUEUED, due_at__lte=Now())

    def next_due(self) -> uuid.UUID | None:
        return self.due().order_by("due_at").values_list("pk", flat=True).first()

    def out_of_reach(self) -> ExecutionQuerySet:
        """Runs whose owner is gone, and nobody came who could reach their sandbox."""
        late = Now() - timedelta(seconds=settings.DEADLINE_GRACE_S)
        return self.filter(
            status__in=ACTIVE, lease_until__lt=Now(), deadline_at__lt=late
        )

    def requeue_all(self) -> int:
        """Let these runs, whose owners are gone, start again as another attempt."""
        return self.update(
            status=Status.QUEUED,
            lease_id=None,
            lease_until=None,
            adoptions=0,
            failures=models.F("failures") + 1,
            due_at=Now(),
        )

    def fail(self, **outcome: Any) -> int:
        """End these runs, whose owners are gone."""
        return self.update(
            status=Status.FINISHED,
            lease_id=None,
            lease_until=None,
            recorded_at=Now(),
            **outcome,
        )

    def recorded_before(self, age: timedelta) -> ExecutionQuerySet:
        return self.filter(status__in=FINAL, recorded_at__lt=Now() - age)

    def _claimed(self, text: str, params: Sequence[Any]) -> Execution | None:
        """Return the row of sql.CLAIMED, and what follows it: has_more, waited_s.

        What raw() does, which finds out at each call what the columns are: with it a
        claim costs a worker three times as much.
        """
        database = connections[self.db]
        with statement() as cursor:
            cursor.execute(text, params)
            row = cursor.fetchone()
        if row is None:
            return None
        *values, has_more, waited_s = row
        for place, column, converters in _claimed_converters():
            for convert in converters:
                values[place] = convert(values[place], column, database)
        execution = Execution.from_db(self.db, sql.CLAIMED, values)
        execution.has_more, execution.waited_s = bool(has_more), float(waited_s)
        return execution


def _deadline() -> Any:
    """Return when a program has to have ended that starts now."""
    millisecond = models.Value(timedelta(milliseconds=1), models.DurationField())
    # A plain integer, as Django multiplies nothing else on SQLite.
    milliseconds = Cast("budget_ms", models.IntegerField())
    budget = models.ExpressionWrapper(
        milliseconds * millisecond, models.DurationField()
    )
    return models.ExpressionWrapper(Now() + budget, models.DateTimeField())


def _later(delay: timedelta) -> Any:
    # Not a sum with nothing: SQLite would write it with more digits than Now, and
    # compare them as text.
    return Now() + delay if delay else Now()


@cache
def _claimed_converters() -> list[tuple[int, Any, list[Any]]]:
    """Return what the database's values of sql.CLAIMED have to go through."""
    fields = {field.attname: field for field in Execution._meta.concrete_fields}
    columns: Any = [fields[name].get_col(sql.TABLE) for name in sql.CLAIMED]
    compiler = Execution.objects.all().query.get_compiler(connection=connection)
    found = compiler.get_converters(columns)
    return [(place, column, many) for place, (many, column) in found.items()]


@cache
def _recording(names: tuple[str, ...]) -> tuple[str, list[Any]]:
    """Return the statement that stores these fields, and the fields."""
    fields: list[Any] = [Execution._meta.get_field(name) for name in names]
    return sql.record(tuple(field.column for field in fields)), fields


def _uuid(value: uuid.UUID) -> Any:
    """Return a UUID as raw SQL of this database takes it."""
    return value if sql.is_postgresql() else value.hex


def _as_uuid(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


class Execution(models.Model):
    """One program, submitted once, and what became of it.

    `files` is a list of {"path", "content" (base64)}. Output columns hold raw bytes:
    the kept head and tail of each stream. `result` is {"compile": stage or null, "run":
    stage or null, "unenforced": names} with, for each stage, end, exit_code, signal,
    message, cpu_time_ms, wall_time_ms, memory_peak_bytes, first_output_ms, measured_by,
    limits, and for stdout and stderr {"head_bytes", "dropped_bytes"}: where they meet.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="executions"
    )

    # What was submitted; never changes.
    runtime = models.CharField(max_length=40)
    entry_point = models.CharField(max_length=255)
    files = models.JSONField()
    stdin = models.BinaryField(default=b"")
    args = models.JSONField(default=list)
    env = models.JSONField(default=dict)
    limits = models.JSONField()
    compile_limits = models.JSONField()
    budget_ms = models.PositiveIntegerField(default=60_000)
    """How long an attempt may take in all; deadline_at is this long after its claim."""

    # State.
    status = models.CharField(
        max_length=10, choices=Status.choices, default=Status.QUEUED
    )
    attempt = models.PositiveSmallIntegerField(default=0)
    adoptions = models.PositiveSmallIntegerField(default=0)
    """How many owners of this attempt were lost; a program may be the reason."""
    failures = models.PositiveSmallIntegerField(default=0)
    """How many attempts failed, of those that are limited (MAX_ATTEMPTS)."""
    due_at = models.DateTimeField(db_default=Now())
    """Not to be claimed before: later than queued_at after an attempt that failed."""
    lease_id = models.UUIDField(null=True)
    lease_owner = models.CharField(max_length=100, default="")
    lease_until = models.DateTimeField(null=True)
    sandbox = models.CharField(max_length=200, default="")
    """Where its sandbox lives: the backend's scope, from the claim on."""
    deadline_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)

    # Outcome; written once.
    verdict = models.CharField(  # noqa: DJ001 - the constraint below tells null apart
        max_length=20, choices=[(v.value, v.value) for v in Verdict], null=True
    )
    reason = models.TextField(default="")
    result = models.JSONField(null=True)
    stdout = models.BinaryField(default=b"")
    stderr = models.BinaryField(default=b"")
    compile_stdout = models.BinaryField(default=b"")
    compile_stderr = models.BinaryField(default=b"")

    # Stages: database time, and durations (ms, monotonic) since started_at.
    queued_at = ClockField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    sent_ms = models.PositiveIntegerField(null=True)
    first_output_ms = models.PositiveIntegerField(null=True)
    ended_ms = models.PositiveIntegerField(null=True)
    recorded_at = models.DateTimeField(null=True)

    objects = ExecutionQuerySet.as_manager()

    # Set by claims only.
    has_more: bool = False
    waited_s: float = 0.0
    was_expired: bool = False

    class Meta:
        ordering = ("-queued_at", "-id")
        indexes = (
            models.Index(fields=("owner", "-queued_at", "-id"), name="execution_owned"),
            models.Index(
                fields=("due_at",),
                name="execution_due",
                condition=models.Q(status="queued"),
            ),
            models.Index(
                fields=("lease_until",),
                name="execution_leased",
                condition=models.Q(status__in=("starting", "running")),
            ),
        )
        constraints = (
            models.CheckConstraint(
                name="execution_status_known",
                condition=models.Q(status__in=Status.values),
            ),
            models.CheckConstraint(
                name="execution_verdict_when_finished",
                condition=models.Q(status="finished", verdict__isnull=False)
                | (~models.Q(status="finished") & models.Q(verdict=None)),
            ),
        )

    def __str__(self) -> str:
        return f"{self.runtime} {self.id}"

    @property
    def key(self) -> str:
        """The name of the current attempt, as sandboxes know it."""
        return f"{self.id}-{self.attempt}"

    @staticmethod
    def is_key(key: str) -> bool:
        """Whether a sandbox's key is one of an execution: a self-test's is not."""
        try:
            uuid.UUID(key[:36])
        except ValueError:
            return False
        return True

    def is_at(self, key: str) -> bool:
        """Whether the attempt with this key is the current one, and goes on."""
        return self.status in ACTIVE and self.key == key

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def sent_at(self) -> Any:
        return self._at(self.sent_ms)

    @property
    def first_output_at(self) -> Any:
        return self._at(self.first_output_ms)

    @property
    def ended_at(self) -> Any:
        return self._at(self.ended_ms)

    def _at(self, offset_ms: int | None) -> Any:
        if self.started_at is None or offset_ms is None:
            return None
        return self.started_at + timedelta(milliseconds=offset_ms)


class IdempotencyKeyQuerySet(models.QuerySet["IdempotencyKey"]):
    def older_than(self, age: timedelta) -> IdempotencyKeyQuerySet:
        return self.filter(created_at__lt=Now() - age)


class IdempotencyKey(models.Model):
    """An Idempotency-Key that one user sent with a POST, and the execution it led to.

    Stored in the same transaction as the execution, so of any number of equal requests
    one wins. `fingerprint` is the SHA-256 of the request: another one under the same
    key is a conflict. Rows go after IDEMPOTENCY_RETENTION_HOURS (see services.prune).
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+"
    )
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    execution = models.ForeignKey(Execution, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    objects = IdempotencyKeyQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("user", "key"), name="idempotency_key_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.key} of user {self.user_id}"
