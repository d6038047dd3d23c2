"""A submission after validation: what every way in (API, page, command) hands over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from executions.limits import Limits
from executions.sandbox.base import SourceFile


class InvalidSubmission(ValueError):
    """Refused; `fields` maps dotted field names to messages that name the limit."""

    def __init__(self, errors: Mapping[str, list[str]]) -> None:
        super().__init__("; ".join(m for messages in errors.values() for m in messages))
        self.fields = dict(errors)


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid program, with its effective limits; built by specs.validate only."""

    runtime: str
    entry_point: str
    files: tuple[SourceFile, ...]
    limits: Limits
    compile_limits: Limits
    stdin: bytes = b""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
