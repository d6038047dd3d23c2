"""The sandbox backend of this process, as SANDBOX_BACKEND names it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from executions.sandbox.base import Backend, NoSandboxNow

if TYPE_CHECKING:
    from executions.sandbox.kubernetes import KubernetesBackend

_lock = threading.Lock()
_current: Backend | None = None


def current() -> Backend:
    """Return the one instance of this process, made on first use."""
    global _current  # noqa: PLW0603 - one per process is the point
    with _lock:
        if _current is None:
            _current = _make()
        return _current


def problems() -> str:
    """Return in one line what keeps programs from running here; "" when nothing."""
    try:
        return "; ".join(current().problems())
    except NoSandboxNow as error:
        return str(error)


def use(backend: Backend | None) -> Backend | None:
    """Make `backend` the current one; returns the one before. For tests and `serve`."""
    global _current
    with _lock:
        before, _current = _current, backend
        return before


def close() -> None:
    """Let go of this process's sandboxes, so that they need not wait for it."""
    backend = use(None)
    if backend is not None:
        backend.close()


def _make() -> Backend:
    name = settings.SANDBOX_BACKEND
    # Imported here: what a backend needs may be missing where another one is used.
    if name == "jail":
        from executions.sandbox import jails  # noqa: PLC0415

        return jails.from_settings(settings)
    if name == "kubernetes":
        return pods()
    if name == "plain":
        from executions.sandbox import plain  # noqa: PLC0415

        return plain.PlainBackend()
    if name == "fake":
        from executions.sandbox import fake  # noqa: PLC0415

        return fake.FakeSandbox()
    raise ImproperlyConfigured(f"SANDBOX_BACKEND={name} is not known")


def pods() -> KubernetesBackend:
    """Return a new backend of pods, with its pool and its canary."""
    from executions.canary import Canary  # noqa: PLC0415
    from executions.pool import WarmPods  # noqa: PLC0415
    from executions.sandbox import kubernetes  # noqa: PLC0415

    canary = Canary()
    backend = kubernetes.from_settings(settings, WarmPods(), canary)
    canary.watch_over(backend)
    return backend
