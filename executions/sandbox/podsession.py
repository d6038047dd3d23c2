"""A run in a pod, as its worker follows it: over a connection that may break.

What became of the pod, the cluster knows; what the program did, the agent alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Protocol

from executions.sandbox.base import (
    End,
    Event,
    Finished,
    NeverStarted,
    Outcome,
    OutputChunk,
    RunSpec,
    SandboxDetached,
    SandboxError,
    SandboxGone,
    SandboxUnavailable,
    StageOutcome,
    StageStarted,
    Wanted,
)
from executions.sandbox.pods import Fate
from executions.sandbox.session import AgentSession, ConnectionLost

logger = logging.getLogger(__name__)

_RECONNECTS: Final = 3
_DELETE_AFTER_S: Final = 1.0


class Pods(Protocol):
    """What a session asks of the backend that made its pod."""

    def attached(self, name: str, key: str, is_wanted: Wanted) -> AgentSession:
        """Follow the run in a pod again, from its beginning."""

    def fate(self, name: str, is_wanted: Wanted) -> tuple[Fate, str] | None:
        """Return how a pod ended, waiting a moment for that; None if it lives.

        Raises SandboxDetached when that is not wanted any more.
        """

    def end(self, name: str, *, after_s: float) -> None:
        """Have a pod deleted after a while."""


class PodSession:
    """A Session whose end the cluster may know more about than the connection.

    A connection that breaks while the pod lives is made again, and what the agent then
    repeats is left out. Live input that was on its way is lost: whether the agent got
    it, the protocol does not tell, and it shall not come twice. Its end is told again.
    """

    def __init__(  # noqa: PLR0913
        self,
        session: AgentSession,
        backend: Pods,
        name: str,
        key: str,
        *,
        spec: RunSpec | None = None,
        scratch_bytes: int = 0,
    ) -> None:
        self._session = session
        self._backend = backend
        self._name = name
        self._key = key
        self._spec = spec
        self._scratch_bytes = scratch_bytes
        self._told = Told()
        self._is_detached = False
        self._is_cancelled = False
        self._is_stdin_closed = False

    def events(self) -> Iterator[Event]:
        tries_left = _RECONNECTS
        while True:
            replay = self._told.replay()
            try:
                for event in self._session.events():
                    if (news := replay.news(event)) is not None:
                        tries_left = _RECONNECTS
                        self._told.note(news)
                        yield self._completed(news)
            except (SandboxDetached, SandboxUnavailable):
                raise
            except SandboxError as error:
                if isinstance(error, NeverStarted) and not self._told.stages:
                    raise
                ended = self._fate()
                if ended is None:
                    ended = self._attach_again(error, tries_left)
                    tries_left -= 1
                if ended is not None:
                    yield self._completed(self._last_event(ended, error))
                    return
            else:
                return

    def _is_followed(self) -> bool:
        return not self._is_detached

    def _fate(self) -> tuple[Fate, str] | None:
        return self._backend.fate(self._name, self._is_followed)

    def _attach_again(
        self, error: SandboxError, tries_left: int
    ) -> tuple[Fate, str] | None:
        """Follow the living pod over another connection; return how it ended if it did.

        Raises SandboxDetached when it cannot be reached: somebody else may be able to.
        """
        if not isinstance(error, ConnectionLost):
            raise error  # the agent answered, and wrongly
        if not tries_left:
            raise SandboxDetached(str(error)) from error
        logger.warning("following %s again: %s", self._name, error)
        try:
            self._session = self._backend.attached(
                self._name, self._key, self._is_followed
            )
        except (SandboxUnavailable, ConnectionLost) as problem:
            raise SandboxDetached(str(problem)) from problem
        except SandboxGone:
            # The news of it came late.
            if (ended := self._fate()) is None:
                raise
            return ended
        if self._is_detached:
            self._session.detach()
        elif self._is_cancelled:
            self._session.cancel()
        elif self._is_stdin_closed:
            self._session.close_stdin()
        return None

    def _completed(self, event: Event) -> Event:
        """Add what the agent does not know: what its pod does not enforce."""
        if not isinstance(event, Finished):
            return event
        outcome = event.outcome
        stages = [stage for stage in (outcome.compile, *outcome.cases) if stage]
        has_more = any(s.limits.scratch_bytes < self._scratch_bytes for s in stages)
        unenforced = ("scratch_bytes",) if has_more else ()
        return Finished(replace(outcome, unenforced=unenforced))

    def _last_event(self, ended: tuple[Fate, str], error: SandboxError) -> Event:
        fate, text = ended
        if fate is Fate.MEMORY and self._spec is not None and self._told.stages:
            return Finished(self._out_of_memory(self._spec))
        # Also of one that its node is said to have refused: it had the program.
        raise SandboxGone(text) from error

    def _out_of_memory(self, spec: RunSpec) -> Outcome:
        """Return the outcome of a run whose agent the kernel killed with it."""
        stage = self._told.stages[-1]
        command = spec.compile if stage.stage == "compile" else spec.run
        limits = (command or spec.run).limits
        stdout, stderr = self._session.received()
        outcome = StageOutcome(
            end=End.MEMORY,
            limits=limits,
            memory_peak_bytes=limits.memory_bytes,
            message="the pod was out of memory",
            stdout=stdout,
            stderr=stderr,
        )
        if stage.stage == "compile":
            return Outcome(compile=outcome, cases=())
        return Outcome(compile=None, cases=(outcome,) * max(1, len(spec.cases)))

    def send_stdin(self, data: bytes) -> None:
        self._session.send_stdin(data)

    def close_stdin(self) -> None:
        self._is_stdin_closed = True
        self._session.close_stdin()

    def signal(self, number: int) -> None:
        self._session.signal(number)

    def cancel(self) -> None:
        self._is_cancelled = True
        self._session.cancel()

    def acknowledge(self) -> None:
        self._session.acknowledge()
        # Not at once: the node has better things to do while runs come in a burst.
        self._backend.end(self._name, after_s=_DELETE_AFTER_S)

    def detach(self) -> None:
        self._is_detached = True
        self._session.detach()


class Told:
    """What a follower was told of a run: its stages, and the ends of their streams."""

    def __init__(self) -> None:
        self.stages: list[StageStarted] = []
        self._ends: dict[tuple[int, str], int] = {}

    def note(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self.stages.append(event)
        elif isinstance(event, OutputChunk):
            place = len(self.stages) - 1, event.stream
            self._ends[place] = event.offset + len(event.data)

    def end(self, stage: int, stream: str) -> int:
        return self._ends.get((stage, stream), 0)

    def replay(self) -> Replay:
        return Replay(self)


class Replay:
    """Leaves out of an agent's account of a run what was told before."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._stage = -1

    def news(self, event: Event) -> Event | None:
        """Return what is new in an event, None when nothing is."""
        if isinstance(event, StageStarted):
            self._stage += 1
            return event if self._stage >= len(self._told.stages) else None
        if not isinstance(event, OutputChunk):
            return event
        known = self._told.end(self._stage, event.stream) - event.offset
        if known <= 0:
            return event
        if known >= len(event.data):
            return None
        offset = event.offset + known
        return replace(event, offset=offset, data=event.data[known:])
