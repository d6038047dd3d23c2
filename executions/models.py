"""The truth about every execution, and the only ways its state may change.

Transitions are compare-and-set: one conditional UPDATE that names the old state and the
lease, then a look at the row count. 0 rows means that somebody else was first.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from executions.verdicts import Verdict


class Status(models.TextChoices):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"


ACTIVE = (Status.STARTING, Status.RUNNING)
FINAL = (Status.FINISHED, Status.CANCELLED)


class ExecutionQuerySet(models.QuerySet["Execution"]):
    def visible_to(self, user: Any) -> ExecutionQuerySet:
        """The own executions of a user; staff sees all in the admin."""
        return self.filter(owner=user)


class Execution(models.Model):
    """One program, submitted once, and what became of it.

    `files` is a list of {"path", "content" (base64)}. Output columns hold raw bytes: the
    kept head and tail of each stream. `result` is {"compile": stage or null, "run": stage
    or null, "unenforced": names} with, for each stage, end, exit_code, signal, message,
    cpu_time_ms, wall_time_ms, memory_peak_bytes, first_output_ms, measured_by, limits,
    and for stdout and stderr {"head_bytes", "dropped_bytes"}: where head and tail meet.
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
    queued_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    sent_ms = models.PositiveIntegerField(null=True)
    first_output_ms = models.PositiveIntegerField(null=True)
    ended_ms = models.PositiveIntegerField(null=True)
    recorded_at = models.DateTimeField(null=True)

    objects = ExecutionQuerySet.as_manager()

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

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("user", "key"), name="idempotency_key_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.key} of user {self.user_id}"
