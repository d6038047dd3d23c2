"""Whether pods were proven to be closed, and what follows from that.

One row for each set of settings says what the canary (sandbox/canary.py) found last.
Every worker and controller reads it, and whichever finds it due has a new one made. A
canary that could not be made proves nothing: what was known before still holds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, models
from django.db.models.functions import Now

from executions import sql
from executions.sandbox import canary
from executions.sandbox.base import (
    NoSandboxNow,
    SandboxBroken,
    SandboxDetached,
    SandboxError,
    SandboxUnavailable,
    Wanted,
    scope_of_pods,
)
from executions.sandbox.canary import Report
from platform_site import connections

if TYPE_CHECKING:
    from executions.sandbox.kubernetes import KubernetesBackend

logger = logging.getLogger(__name__)

LOOK_S = 5.0
"""How often a process reads the row."""
FAILED_S = 30.0
"""How soon after a canary that found something the next is made."""
UNKNOWN_S = 10.0
"""How soon after one that proved nothing."""
LEASE_S = 60.0
"""How long the others wait for who makes one, and may have been killed."""
FIRST_S = 90.0
"""How long a program waits for the first proof before it goes back to the queue."""
OLD_INTERVALS = 4
"""A proof older than so many intervals is told as a warning."""
FORGET = timedelta(days=7)
TICK_S = 0.1


class SandboxCheckQuerySet(models.QuerySet["SandboxCheck"]):
    def with_age(self) -> SandboxCheckQuerySet:
        """Let each have its `age_s`, by the database's clock alone."""
        rows: SandboxCheckQuerySet = self.annotate(age=sql.age_since("checked_at"))
        return rows

    def of(self, scope: str, fingerprint: str) -> SandboxCheck:
        """Return the row of these settings, made if there is none."""
        rows = self.with_age()
        return rows.get_or_create(scope=scope, fingerprint=fingerprint)[0]

    def take(self, row: SandboxCheck) -> bool:
        """Whether a canary is due, and this process is the one to make it."""
        due = self.filter(pk=row.pk, due_at__lte=Now())
        return bool(due.update(due_at=Now() + timedelta(seconds=LEASE_S)))

    def store(self, row: SandboxCheck, report: Report) -> None:
        row.checks = {n: {"ok": c.is_ok, "found": c.found} for n, c in report.items()}
        due_s = FAILED_S if row.failures() else settings.SANDBOX_CANARY_S
        self.filter(pk=row.pk).update(
            checks=row.checks,
            checked_at=Now(),
            problem="",
            is_hopeless=False,
            due_at=Now() + timedelta(seconds=due_s),
        )
        self.filter(scope=row.scope, due_at__lt=Now() - FORGET).delete()

    def note_problem(
        self, row: SandboxCheck, problem: str, *, is_hopeless: bool
    ) -> None:
        """Say why there is no new proof; an old one still holds."""
        is_unchanged = models.Q(checked_at__isnull=True)
        if row.checked_at is not None:
            is_unchanged |= models.Q(checked_at__lte=row.checked_at)
        self.filter(is_unchanged, pk=row.pk).update(
            problem=problem[:500],
            is_hopeless=is_hopeless and row.checked_at is None,
            due_at=Now() + timedelta(seconds=UNKNOWN_S),
        )

    def newest(self, scope: str) -> SandboxCheck | None:
        """Return the row that counts in a scope, for those who only tell."""
        # The row of settings that are in use is looked at again and again.
        return self.with_age().filter(scope=scope).order_by("-due_at").first()

    def here(self) -> SandboxCheck:
        """Return the row that counts by SANDBOX_NAMESPACE, empty if there is none."""
        scope = scope_of_pods(settings.SANDBOX_NAMESPACE)
        return self.newest(scope) or SandboxCheck(scope=scope)


class SandboxCheck(models.Model):
    """What the last canary of pods of one fingerprint found.

    `checks` maps the names of sandbox.canary.CHECKS to {"ok": bool, "found": text};
    `problem` says why a later canary proved nothing, `is_hopeless` that there was none
    before, and that waiting will not help: an image that is not there, for one.
    """

    scope = models.CharField(max_length=120)
    fingerprint = models.CharField(max_length=16)
    checks = models.JSONField(default=dict)
    checked_at = models.DateTimeField(null=True)
    problem = models.TextField(default="")
    is_hopeless = models.BooleanField(default=False)
    due_at = models.DateTimeField(db_default=Now())

    objects = SandboxCheckQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("scope", "fingerprint"), name="one_check_for_each_pod_template"
            ),
        )

    def __str__(self) -> str:
        return f"{self.scope} {self.fingerprint}"

    def failures(self) -> dict[str, str]:
        """Return what is not as it has to be, and is not overridden."""
        passed = canary.WARNINGS.union(settings.SANDBOX_CANARY_OVERRIDE)
        return {n: found for n, found in self._failed() if n not in passed}

    def warnings(self) -> dict[str, str]:
        """Return what else failed."""
        failures = self.failures()
        return {n: found for n, found in self._failed() if n not in failures}

    def _failed(self) -> Iterator[tuple[str, str]]:
        for name, check in self.checks.items():
            if not check["ok"]:
                yield name, check["found"]

    def refusal(self) -> str:
        """Return why no program may be run, or ""."""
        if self.checked_at is None:
            reason = self.problem or "no pod has told yet what can be reached from it"
            return f"pods are not proven to be closed: {reason}"
        if failures := self.failures():
            told = "; ".join(f"{name}: {found}" for name, found in failures.items())
            return f"pods are not closed as they have to be: {told}"
        return ""

    @property
    def age_s(self) -> float | None:
        """Seconds from the last proof to when this was read; None without either."""
        age: timedelta | None = self.__dict__.get("age")
        return None if age is None else age.total_seconds()

    @property
    def is_old(self) -> bool:
        age_s = self.age_s
        return age_s is not None and age_s > OLD_INTERVALS * settings.SANDBOX_CANARY_S


class Canary:
    """A warm.Gate that a thread of its own keeps up to date."""

    def __init__(self) -> None:
        self.row: SandboxCheck | None = None
        """What was read last."""
        self.read_at = time.monotonic()
        self._changed = threading.Condition()
        self._is_open = False
        self._has_tried = False
        self._making: threading.Thread | None = None
        self._give_up_at = time.monotonic() + FIRST_S
        self._is_closed = threading.Event()
        self._wake = threading.Event()

    def watch_over(self, backend: KubernetesBackend) -> None:
        """Begin to look after the pods of this backend."""
        threading.Thread(
            target=self._run, args=(backend,), name="canary", daemon=True
        ).start()

    def close(self) -> None:
        self._is_closed.set()
        self._wake.set()

    def pass_through(self, is_wanted: Wanted) -> None:
        while not self._is_open:
            row = self.row
            if row is not None and row.is_hopeless:
                raise SandboxUnavailable(row.problem)
            refusal = row.refusal() if row else "nothing is known of pods yet"
            if row is not None and row.checked_at is not None and refusal:
                raise NoSandboxNow(refusal)
            # The first proof may well be on its way.
            if time.monotonic() > self._give_up_at or self._is_closed.is_set():
                raise NoSandboxNow(refusal or "the last proof is too old")
            if not is_wanted():
                raise SandboxDetached
            with self._changed:
                self._changed.wait(TICK_S)

    # --- the thread ---

    def _run(self, backend: KubernetesBackend) -> None:
        while not self._is_closed.is_set():
            try:
                self._look(backend)
            except (DatabaseError, InterfaceError) as error:
                logger.warning("the canary's row cannot be read: %s", error)
                connection.close()
            except Exception:  # the thread's task boundary
                logger.exception("the canary stumbled")
            finally:
                connections.rest()
            self._wake.wait(LOOK_S)
            self._wake.clear()
        connections.end()

    def _look(self, backend: KubernetesBackend) -> None:
        objects = SandboxCheck.objects
        row = objects.of(backend.scope, backend.fingerprint())
        self._learn(row)
        is_making = self._making is not None and self._making.is_alive()
        if not is_making and objects.take(row):
            # Apart: what others find meanwhile counts at once.
            self._making = threading.Thread(
                target=self._make, args=(backend, row), name="canary-pods", daemon=True
            )
            self._making.start()

    def _make(self, backend: KubernetesBackend, row: SandboxCheck) -> None:
        """Have a new canary made, and store what it found."""
        try:
            self._store(backend, row)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("the canary's row cannot be written: %s", error)
        except Exception:  # the thread's task boundary
            logger.exception("the canary stumbled")
        finally:
            self._has_tried = True
            connections.end()
            self._wake.set()

    def _store(self, backend: KubernetesBackend, row: SandboxCheck) -> None:
        try:
            report = canary.look(backend, name_servers())
        except (canary.CanaryError, SandboxError) as error:
            logger.warning("no canary: %s", error)
            is_hopeless = isinstance(error, SandboxBroken)
            SandboxCheck.objects.note_problem(row, str(error), is_hopeless=is_hopeless)
        else:
            SandboxCheck.objects.store(row, report)

    def _learn(self, row: SandboxCheck) -> None:
        refusal = row.refusal()
        # An old proof will do where there can be no new one, not before that was tried.
        is_due = row.is_old and not (self._is_open or self._has_tried)
        was_open, self._is_open = self._is_open, not (refusal or is_due)
        self.row, self.read_at = row, time.monotonic()
        if was_open and refusal:
            logger.critical("no program is run any more: %s", refusal)
        with self._changed:
            self._changed.notify_all()


def name_servers() -> list[str]:
    """Return the name servers that the cluster is known to have.

    A worker in the cluster uses them itself; see resolv.conf(5).
    """
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        return []
    with contextlib.suppress(OSError):
        lines = Path("/etc/resolv.conf").read_text().splitlines()
        words = [line.split() for line in lines]
        return [each[1] for each in words if len(each) > 1 and each[0] == "nameserver"]
    return []
