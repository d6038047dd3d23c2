"""What a backend of pods wants of the platform: pods that are ready, and leave.

Knows no database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from executions.sandbox.base import Wanted


class Taken(NamedTuple):
    """A pod that is nobody else's from now on, and where its agent listens."""

    name: str
    uid: str
    address: str


class Pool(Protocol):
    """Pods that were made ahead. Each is for one run, and is taken once."""

    def take(
        self, key: str, templates: Mapping[str, str], oldest_s: float
    ) -> Taken | None:
        """Return a ready pod for the attempt `key`, or None when there is none.

        `templates` maps the kinds of pods that suit, the best first, to the hash of
        what those have to be made from; none is older than `oldest_s`. Raises
        NoSandboxNow when it is unknown whether one was taken.
        """

    def find(self, key: str) -> Taken | None:
        """Return the pod that was taken for this attempt, if one was.

        Raises SandboxUnavailable, as do the others below, when that cannot be told.
        """

    def held(self) -> list[str]:
        """Return the keys of the attempts for which pods are taken."""

    def end(self, name: str) -> None:
        """Note that a pod is of no use any more; the caller has it deleted."""


class NoPool:
    """A pool without pods."""

    def take(
        self, key: str, templates: Mapping[str, str], oldest_s: float
    ) -> Taken | None:
        return None

    def find(self, key: str) -> Taken | None:
        return None

    def held(self) -> list[str]:
        return []

    def end(self, name: str) -> None:
        return


class Gate(Protocol):
    """What lets programs into pods once those were proven to be closed."""

    def pass_through(self, is_wanted: Wanted) -> None:
        """Return when a program may run, without waiting where that is known.

        Raises NoSandboxNow with the reason why not, and SandboxDetached when the
        program is not wanted any more.
        """

    def close(self) -> None: ...


class OpenGate:
    """Lets everything in."""

    def pass_through(self, is_wanted: Wanted) -> None:
        return

    def close(self) -> None:
        return
