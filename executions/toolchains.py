"""What there is of each language where programs run: here, or in the sandbox image."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings

from executions.runtimes import probe
from executions.runtimes.base import Runtime
from executions.runtimes.probe import Probe


def are_here() -> bool:
    """Tell whether programs run with this machine's own toolchains."""
    return settings.SANDBOX_BACKEND in ("jail", "plain")


def find(runtime: Runtime) -> Probe:
    """Return what is there of a runtime; may start it for its version."""
    return probe.probe(runtime) if are_here() else _in_image(runtime)


def find_all(runtimes: Iterable[Runtime]) -> list[Probe]:
    """Return what is there of several, in the given order."""
    if are_here():
        return probe.probe_all(runtimes)
    return [_in_image(runtime) for runtime in runtimes]


def _in_image(runtime: Runtime) -> Probe:
    """Return what SANDBOX_RUNTIMES says; without it, every language may be there."""
    told = settings.SANDBOX_RUNTIMES
    if told and runtime.key not in told:
        problem = f"{runtime.key} is not in the image that programs run in"
        return Probe(runtime, problem=problem)
    return Probe(runtime, version=told.get(runtime.key, ""))
