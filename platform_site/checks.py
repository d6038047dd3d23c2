"""Settings that cannot work together are found before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from executions.limits import LIMIT_NAMES, Limits
from executions.sandbox.canary import CHECKS

BACKENDS = ("jail", "kubernetes", "plain", "fake")
BROKERS = ("memory://", "redis://", "rediss://")
LAST_PORT = 65_535
RENEWALS = 2
"""A lease has to survive that many renewals that came too late."""

POSITIVE = (
    "WORKER_CONCURRENCY",
    "DATABASE_POOL_SIZE",
    "LEASE_LENGTH_S",
    "LEASE_RENEW_S",
    "LEASE_LOOK_S",
    "MAX_ATTEMPTS",
    "SANDBOX_MAX_JAILS",
    "SANDBOX_CANARY_S",
)
NOT_NEGATIVE = (
    "DEADLINE_GRACE_S",
    "GIVE_BACK_S",
    "SERVE_STOP_S",
    "RETENTION_DAYS",
    "SANDBOX_LINGER_S",
    "METRICS_PORT",
)


@register()
def settings_fit_together(**_: Any) -> list[CheckMessage]:
    return [Error(text, id=f"platform.E{n:03}") for n, text in _problems()]


def _problems() -> Iterator[tuple[int, str]]:
    groups: tuple[Callable[[], Iterator[str]], ...] = (
        _backend,
        _broker,
        _numbers,
        _leases,
        _limits,
    )
    for number, group in enumerate(groups, start=1):
        for text in group():
            yield number, text


def _backend() -> Iterator[str]:
    backend = settings.SANDBOX_BACKEND
    if backend not in BACKENDS:
        yield f"SANDBOX_BACKEND={backend} is none of {', '.join(BACKENDS)}"
    if backend == "kubernetes":
        if "postgresql" not in settings.DATABASES["default"]["ENGINE"]:
            yield "SANDBOX_BACKEND=kubernetes needs PostgreSQL: set DATABASE_URL"
        for name in settings.SANDBOX_CANARY_OVERRIDE:
            if name not in CHECKS:
                known = ", ".join(CHECKS)
                yield f"SANDBOX_CANARY_OVERRIDE={name} is no check; known: {known}"
        if settings.CELERY_BROKER_URL.startswith("memory"):
            yield "SANDBOX_BACKEND=kubernetes needs Redis: set CELERY_BROKER_URL"


def _broker() -> Iterator[str]:
    if not settings.CELERY_BROKER_URL.startswith(BROKERS):
        # Not the value: it may hold a password.
        yield f"CELERY_BROKER_URL has to begin with one of {', '.join(BROKERS)}"


def _numbers() -> Iterator[str]:
    for name in POSITIVE:
        if getattr(settings, name) <= 0:
            yield f"{name} has to be more than 0"
    for name in NOT_NEGATIVE:
        if getattr(settings, name) < 0:
            yield f"{name} may not be negative"
    if settings.METRICS_PORT > LAST_PORT:
        yield f"METRICS_PORT is at most {LAST_PORT}"


def _leases() -> Iterator[str]:
    if settings.LEASE_RENEW_S * RENEWALS > settings.LEASE_LENGTH_S:
        yield (
            f"LEASE_LENGTH_S has to be at least {RENEWALS} times LEASE_RENEW_S, or"
            " living workers lose their runs"
        )
    if settings.LEASE_LOOK_S > settings.LEASE_LENGTH_S:
        yield "LEASE_LOOK_S may not be more than LEASE_LENGTH_S"


def _limits() -> Iterator[str]:
    for stage in ("RUN", "COMPILE"):
        default: Limits = getattr(settings, f"{stage}_DEFAULT")
        most: Limits = getattr(settings, f"{stage}_MAX")
        for name in LIMIT_NAMES:
            knob = f"{stage}_DEFAULT_{name.upper()}"
            if getattr(default, name) < 1:
                yield f"{knob} has to be at least 1"
            if getattr(default, name) > getattr(most, name):
                yield f"{knob} is more than {stage}_MAX_{name.upper()}"
