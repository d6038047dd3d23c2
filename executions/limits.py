"""Limits of one stage (compile or run) of an execution.

Every number carries its unit in its name. The same dataclass travels from the API to
the sandbox; nothing in it is ever "no limit". Free of Django, so that the sandbox
package can be used as a library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """What one stage may use at most; integers, all at least 1.

    cpu_time_ms counts the CPU time of the whole process tree, memory_bytes the whole
    tree with its files in scratch, output_bytes each of stdout and stderr, file_bytes
    one file, scratch_bytes all files together, max_processes processes and threads.
    """

    cpu_time_ms: int = 5_000
    wall_time_ms: int = 10_000
    memory_bytes: int = 256 * MIB
    output_bytes: int = 1 * MIB
    max_processes: int = 64
    file_bytes: int = 64 * MIB
    scratch_bytes: int = 128 * MIB
    stack_bytes: int = 64 * MIB

    def as_dict(self) -> dict[str, int]:
        # Several times for each run, and asdict() takes fifteen times as long.
        return {name: getattr(self, name) for name in LIMIT_NAMES}

    def with_(self, **changes: int) -> Limits:
        return replace(self, **changes)


LIMIT_NAMES: tuple[str, ...] = tuple(field.name for field in fields(Limits))


class InvalidLimits(ValueError):
    """One or more limits were refused; `fields` maps each name to its messages."""

    def __init__(self, errors: Mapping[str, list[str]]) -> None:
        super().__init__("; ".join(m for messages in errors.values() for m in messages))
        self.fields = dict(errors)


def resolve(
    requested: Mapping[str, Any],
    *,
    default: Limits,
    maximum: Limits,
    minimum: Mapping[str, int] | None = None,
) -> Limits:
    """Return the effective limits for what was requested.

    Missing names take the default, values below `minimum` (the runtime's own need) are
    raised to it, and a default above the maximum is lowered to it. Raises
    InvalidLimits, naming every offending field, for unknown names, anything but a
    positive integer, and values above the maximum.
    """
    floor = minimum or {}
    errors: dict[str, list[str]] = {}
    effective: dict[str, int] = {}
    for name in LIMIT_NAMES:
        ceiling: int = getattr(maximum, name)
        value = requested.get(name, min(getattr(default, name), ceiling))
        # bool is an int in Python, but never a limit.
        if isinstance(value, bool) or not isinstance(value, int):
            errors[name] = [f"{name} must be a whole number"]
        elif value < 1:
            errors[name] = [f"{name} must be at least 1"]
        elif value > ceiling:
            errors[name] = [f"{name} may be at most {ceiling}"]
        else:
            effective[name] = max(value, min(floor.get(name, 1), ceiling))
    for name in requested:
        if name not in LIMIT_NAMES:
            known = ", ".join(LIMIT_NAMES)
            errors[str(name)] = [f"{name} is not a limit; known: {known}"]
    if errors:
        raise InvalidLimits(errors)
    return Limits(**effective)
