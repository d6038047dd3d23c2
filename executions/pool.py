"""The rows of the pods that wait for programs, and how a worker takes one.

A pod is taken by one statement, so that two workers never get the same, and no call to
the API server is needed. The controller (controller.py) makes pods and rows; a row goes
after its pod.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache

from django.db import DatabaseError, IntegrityError, InterfaceError, models
from django.db.models.functions import Now

from executions import sql
from executions.sandbox.base import NoSandboxNow
from executions.sandbox.warm import Taken
from platform_site.connections import rest, statement

TABLE = "executions_sandboxpod"
Counts = Mapping[tuple[str, str], int]
"""How many pods there are of a kind in a state."""


class State(models.TextChoices):
    STARTING = "starting"
    """It was asked for, or waits for its agent."""
    READY = "ready"
    BUSY = "busy"
    """A worker has it; `key` names the attempt."""
    ENDING = "ending"
    """It is of no use any more: the pod goes, then the row."""


class SandboxPodQuerySet(models.QuerySet["SandboxPod"]):
    """Each transition is one conditional UPDATE: who comes second changes nothing."""

    def with_age(self) -> SandboxPodQuerySet:
        """Let each have its `age_s`, by the database's clock alone."""
        return self.annotate(age=sql.age_since("created_at"))

    def mark_ready(self, name: str, address: str, uid: str) -> bool:
        changed = self.filter(name=name, state=State.STARTING).update(
            state=State.READY, address=address, uid=uid, changed_at=Now()
        )
        return bool(changed)

    def retire(self, names: Sequence[str], states: Sequence[State]) -> int:
        """Let those of these pods go that are still in one of these states."""
        return self.filter(name__in=names, state__in=states).update(
            state=State.ENDING, key=None, changed_at=Now()
        )

    def counts(self) -> Counts:
        """Count them; what there is none of is left out."""
        rows = self.values_list("kind", "state").annotate(n=models.Count("*"))
        return {(kind, state): count for kind, state, count in rows.order_by()}


class SandboxPod(models.Model):
    """The record of one pod of the pool, from before it is created until it is gone.

    `kind` is what it is ready for (see manifests.Kind), `template` the hash of what it
    was made from: one of another template is not taken any more.
    """

    name = models.CharField(max_length=63, primary_key=True)
    kind = models.CharField(max_length=60)
    template = models.CharField(max_length=16)
    state = models.CharField(
        max_length=10, choices=State.choices, default=State.STARTING
    )
    uid = models.CharField(max_length=40, default="")
    address = models.CharField(max_length=45, default="")
    key = models.CharField(  # noqa: DJ001 - unique where there is one
        max_length=60, null=True, unique=True
    )
    created_at = models.DateTimeField(db_default=Now())
    taken_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(db_default=Now())

    objects = SandboxPodQuerySet.as_manager()

    class Meta:
        ordering = ("created_at",)
        indexes = (
            models.Index(
                fields=("kind", "changed_at"),
                name="sandboxpod_ready",
                condition=models.Q(state="ready"),
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.state})"

    @property
    def age_s(self) -> float:
        """Seconds since it was asked for; only of what with_age() returned."""
        age: timedelta = self.__dict__["age"]
        return age.total_seconds()


@cache
def _take(kinds: int) -> str:
    """Parameters: key, kind and template of each, minus the age, the best kind."""
    suited = " OR ".join(["(kind = %s AND template = %s)"] * kinds)
    return f"""
        UPDATE {TABLE} SET state = 'busy', key = %s,
            changed_at = {sql.now()}, taken_at = {sql.now()}
        WHERE name = (
            SELECT name FROM {TABLE} WHERE state = 'ready' AND ({suited})
            AND created_at > {sql.later("%s")}
            ORDER BY CASE WHEN kind = %s THEN 0 ELSE 1 END, changed_at LIMIT 1
            {sql.skip_locked()}
        ) AND state = 'ready'
        RETURNING name, uid, address
    """  # noqa: S608 - nothing of it comes from outside


class WarmPods:
    """The warm.Pool of workers; safe to use from many threads."""

    def take(
        self, key: str, templates: Mapping[str, str], oldest_s: float
    ) -> Taken | None:
        if not templates:
            return None
        suited = [word for pair in templates.items() for word in pair]
        best = next(iter(templates))
        try:
            with statement() as cursor:
                cursor.execute(_take(len(templates)), [key, *suited, -oldest_s, best])
                row = cursor.fetchone()
        except IntegrityError:
            return self.find(key)  # this very attempt took one before
        except (DatabaseError, InterfaceError) as error:
            # One may have been taken all the same: the attempt must not have two.
            raise NoSandboxNow(f"the pool cannot be asked: {error}") from error
        return None if row is None else Taken(*row)

    def find(self, key: str) -> Taken | None:
        columns = ("name", "uid", "address")
        with _asked():
            row = SandboxPod.objects.filter(key=key).values_list(*columns).first()
        return None if row is None else Taken(*row)

    def held(self) -> list[str]:
        with _asked():
            busy = SandboxPod.objects.filter(state=State.BUSY)
            return [str(key) for key in busy.values_list("key", flat=True)]

    def end(self, name: str) -> None:
        with _asked():
            SandboxPod.objects.retire([name], [State.READY, State.BUSY])


@contextlib.contextmanager
def _asked() -> Iterator[None]:
    """Ask the database and let go of it. Raises NoSandboxNow."""
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        raise NoSandboxNow(f"the pool cannot be asked: {error}") from error
    finally:
        rest()
