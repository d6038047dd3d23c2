"""What must come of a suite's program in a pod where that is not what a jail makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from executions.tests.suites.program import Program


@dataclass(frozen=True, slots=True)
class Different:
    """The fields of a Program that are others in a pod, and why they may be."""

    why: str
    fields: Mapping[str, Any]


DIFFERENT: Mapping[str, Different] = {}


def expected(programs: Iterable[Program]) -> list[Program]:
    """Return the programs with what is expected of them in pods."""
    return [
        replace(each, **DIFFERENT[each.id].fields) if each.id in DIFFERENT else each
        for each in programs
    ]
