"""Sandboxes for one program each, usable without Django: see library.run.

Nothing is imported until it is asked for: the fork server carries what this package
loads into each of its jails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from executions.sandbox.base import Outcome
    from executions.sandbox.library import run

__all__ = ["Outcome", "run"]


def __getattr__(name: str) -> Any:
    if name == "run":
        from executions.sandbox.library import run  # noqa: PLC0415

        return run
    if name == "Outcome":
        from executions.sandbox.base import Outcome  # noqa: PLC0415

        return Outcome
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
