"""One list-and-watch of all sandbox pods for a whole process.

A thread keeps the newest object of every pod and wakes whoever waits for a change of
one. It does nothing else, as a slow reader is cut off by the API server (410). See the
Kubernetes documentation on "efficient detection of changes" for the protocol.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from executions.sandbox import pods

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

YOUNG_S = 30.0
"""Where versions are no numbers, a pod that was heard of later than this is not taken
for gone because a list lacks it."""
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
# How long what was seen last of a pod that is gone is kept for those who ask late.
_REMEMBER_S: Final = 120.0


class TooOld(Exception):
    """The version to go on from is not kept any more (410): list again."""


class Source(Protocol):
    """Where the watch gets pods from; each call may raise OSError and the like.

    A clear refusal is SandboxUnavailable.
    """

    def list(self) -> tuple[list[dict[str, Any]], str]:
        """Return all pods and the version that they are of."""

    def follow(self, version: str) -> Iterator[bytes]:
        """Yield lines of events after a version, until the server ends them.

        Raises TooOld.
        """

    def interrupt(self) -> None:
        """Let a follow() in another thread end soon."""


@dataclass(slots=True)
class Seen:
    """What is known of a pod: its newest object, and whether it is gone."""

    pod: dict[str, Any]
    is_gone: bool = False
    at: float = 0.0

    @property
    def age_s(self) -> float:
        """Seconds since the last news of it."""
        return time.monotonic() - self.at


def _is_newer(pod: dict[str, Any], known: dict[str, Any]) -> bool:
    """Whether `pod` is of a later version; another pod of this name always is."""
    if pods.uid(pod) != pods.uid(known):
        return True
    try:
        # Comparable as numbers: Kubernetes' KEP-5504.
        return pods.version(pod) > pods.version(known)
    except ValueError:
        return False


def _is_of(seen: Seen, version: str, now: float) -> bool:
    """Whether a list of this version had to have a pod, if it were there.

    One from the server's cache can be older than what we were told ourselves.
    """
    try:
        return pods.version(seen.pod) <= int(version)
    except ValueError:
        return now - seen.at >= YOUNG_S


class PodWatch:
    """Follows all pods of one namespace from a thread of its own.

    `lists`, `failures` and `events` count; `heard_at` is the monotonic time of the last
    byte from the server, `problem` what kept it from being followed last.
    """

    def __init__(self, source: Source) -> None:
        self.lists = self.failures = self.events = 0
        self.heard_at = time.monotonic()
        self.problem: Exception | None = None
        self._source = source
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiting: dict[str, list[threading.Condition]] = {}
        self._seen: dict[str, Seen] = {}
        self._version = ""
        self._is_listed = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="pod-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_closed = True
        self._source.interrupt()
        with self._lock:
            self._wake_all()

    def get(self, name: str) -> Seen | None:
        with self._lock:
            return self._seen.get(name)

    def all(self) -> list[Seen]:
        with self._lock:
            return list(self._seen.values())

    def wait_listed(self, timeout_s: float) -> bool:
        """Wait until all pods that there were at the start are known."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_listed, timeout_s)

    def wait_for(
        self,
        name: str,
        look: Callable[[Seen | None], Result],
        timeout_s: float,
    ) -> Result | None:
        """Return what `look` finds in a pod as soon as that is something.

        It is called with what is known now and after each change; None after
        `timeout_s`, and when the watch is closed.
        """
        found: list[Result] = []

        def is_done() -> bool:
            result = look(self._seen.get(name))
            if result is not None:
                found.append(result)
            return bool(found) or self._is_closed

        # One for each who waits: a change of a pod wakes nobody else.
        change = threading.Condition(self._lock)
        with self._lock:
            waiting = self._waiting.setdefault(name, [])
            waiting.append(change)
            try:
                change.wait_for(is_done, timeout_s)
            finally:
                waiting.remove(change)
                if not waiting:
                    self._waiting.pop(name, None)
        return found[0] if found else None

    def tell(self, pod: dict[str, Any]) -> None:
        """Learn of a pod from an answer; what the watch told since is newer."""
        name = pods.name(pod)
        with self._lock:
            known = self._seen.get(name)
            if known is None or _is_newer(pod, known.pod):
                self._seen[name] = Seen(pod, at=time.monotonic())
                self._wake(name)

    def _wake(self, name: str) -> None:
        for change in self._waiting.get(name, ()):
            change.notify_all()

    def _wake_all(self) -> None:
        self._changed.notify_all()
        for name in self._waiting:
            self._wake(name)

    # --- the thread ------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._is_closed:
            began = self.events
            try:
                if not self._version:
                    self._list()
                for line in self._source.follow(self._version):
                    self._take(line)
                    if self._is_closed:
                        return
            except TooOld:
                self._version = ""
            except Exception as error:  # noqa: BLE001 - it must go on whatever happens
                if self._is_closed:
                    return
                self.failures += 1
                self.problem = error
                logger.warning("following pods: %s", error)
            else:
                pause_s = _FIRST_PAUSE_S
                continue
            if self.events > began:
                pause_s = _FIRST_PAUSE_S
            time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _list(self) -> None:
        found, version = self._source.list()
        now = time.monotonic()
        self.lists += 1
        self.heard_at = now
        with self._changed:
            listed = {pods.name(pod): pod for pod in found}
            for name, seen in self._seen.items():
                is_missing = name not in listed and not seen.is_gone
                if is_missing and _is_of(seen, version, now):
                    seen.is_gone, seen.at = True, now
            for name, pod in listed.items():
                self._seen[name] = Seen(pod, at=now)
            self._version, self._is_listed = version, True
            self._wake_all()

    def _take(self, line: bytes) -> None:
        self.heard_at = time.monotonic()
        event = json.loads(line)
        kind, thing = event["type"], event["object"]
        if kind == "ERROR":
            if thing.get("code") == 410:  # noqa: PLR2004 - HTTP's "gone"
                raise TooOld
            raise RuntimeError(f"the API server: {thing.get('message', thing)}")
        self._version = thing["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return
        self.events += 1
        with self._lock:
            name = pods.name(thing)
            known = self._seen.get(name)
            is_gone = kind == "DELETED"
            # The end of an earlier pod of this name says nothing of the one there is.
            if is_gone and known is not None and pods.uid(known.pod) != pods.uid(thing):
                return
            self._seen[name] = Seen(thing, is_gone, self.heard_at)
            self._forget()
            self._wake(name)

    def _forget(self) -> None:
        if self.events % 256:
            return
        horizon = time.monotonic() - _REMEMBER_S
        for name in [n for n, s in self._seen.items() if s.is_gone and s.at < horizon]:
            del self._seen[name]
