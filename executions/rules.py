"""What may be submitted here: specs.Rules from the settings and the runtimes found."""

from __future__ import annotations

import time

from django.conf import settings

from executions import specs, toolchains
from executions.runtimes import probe
from executions.runtimes.base import Runtime

# Looking for a toolchain costs some ten system calls; an installed one is noticed soon.
REMEMBERED_S = 10.0
_remembered: dict[str, tuple[float, str | None]] = {}


def current() -> specs.Rules:
    return specs.Rules(
        max_files=settings.SUBMISSION_MAX_FILES,
        max_source_bytes=settings.SUBMISSION_MAX_SOURCE_BYTES,
        max_stdin_bytes=settings.SUBMISSION_MAX_STDIN_BYTES,
        max_args=settings.SUBMISSION_MAX_ARGS,
        max_args_bytes=settings.SUBMISSION_MAX_ARGS_BYTES,
        max_env=settings.SUBMISSION_MAX_ENV,
        max_env_bytes=settings.SUBMISSION_MAX_ENV_BYTES,
        default_limits=settings.RUN_DEFAULT,
        maximum_limits=settings.RUN_MAX,
        default_compile_limits=settings.COMPILE_DEFAULT,
        maximum_compile_limits=settings.COMPILE_MAX,
        missing=missing,
    )


def missing(runtime: Runtime) -> str | None:
    """Tell what keeps a runtime from running here, or return None.

    On a cluster the sandbox image carries the toolchains, not this machine.
    """
    if not toolchains.are_here():
        return toolchains.find(runtime).problem or None
    known = _remembered.get(runtime.key)
    now = time.monotonic()
    if known is None or known[0] < now:
        problem = None
        if not probe.is_available(runtime):
            packages = " ".join(runtime.packages)
            problem = f"{runtime.key} is not installed here (Debian: {packages})"
        known = (now + REMEMBERED_S, problem)
        _remembered[runtime.key] = known
    return known[1]
