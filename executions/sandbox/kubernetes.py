"""The backend that runs each program in a pod of its own.

A cold run costs two API calls: the pod's creation and its deletion. What happens to it
is told by one shared watch, and the program, its input and its outcome go over a
connection to the agent in the pod, never through the API server.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from executions.sandbox import manifests, pods
from executions.sandbox.api_server import KEEPALIVE, Api
from executions.sandbox.base import (
    Command,
    NeverStarted,
    NoSandboxNow,
    RunSpec,
    SandboxBroken,
    SandboxDetached,
    SandboxError,
    SandboxGone,
    SandboxUnavailable,
    Session,
    Wanted,
    always,
    scope_of_pods,
)
from executions.sandbox.counters import Counters
from executions.sandbox.manifests import (
    AGENT_PORT,
    DEFAULT_PROFILES,
    KEY_LABEL,
    Cluster,
    Kind,
    Profile,
)
from executions.sandbox.pods import Fate
from executions.sandbox.podsession import PodSession
from executions.sandbox.session import AgentSession, greet
from executions.sandbox.warm import Gate, NoPool, OpenGate, Pool, Taken
from executions.sandbox.watch import PodWatch, Seen

logger = logging.getLogger(__name__)

# A pod that waits longer than this for a node, an image or its start is given up.
_SCHEDULE_TIMEOUT_S: Final = 120.0
_OUR_PROBLEM_S: Final = 20.0
_AGENT_TIMEOUT_S: Final = 30.0
_CONNECT_EVERY_S: Final = 0.005
_LONGEST_CONNECT_S: Final = 0.1
# The watch tells why an agent fell silent within this time, or nobody does.
_FATE_TIMEOUT_S: Final = 3.0
_LISTED_TIMEOUT_S: Final = 10.0
# How often it is looked whether a pod that is waited for is still wanted.
_LOOK_S: Final = 0.2
# A pod of which the watch tells nothing for so long is asked for.
_SILENCE_S: Final = 5.0
# Of a waiting pod: it has nothing else to do than to answer.
_WARM_CONNECT_S: Final = 1.0
_WARM_TRIES: Final = 3
_GREET_S: Final = 3.0
_GREET_EVERY_S: Final = 0.02
WARM_PREFIX: Final = "warm-"
WARM: Final = "warm"
COLD: Final = "cold"
_CLOSE_S: Final = 3.0
_FORGO_S: Final = 10.0
# How long a fence stands at least: a create that was on its way comes sooner.
_FENCED_S: Final = 30.0


class KubernetesBackend:
    """A Backend of pods, one for each run. Safe to use from many threads.

    `secret` makes the agents' tokens: whoever has it can speak to them. `starts` counts
    runs by the kind of pod that they wanted, and whether one waited: WARM or COLD.
    """

    def __init__(  # noqa: PLR0913 - by keyword
        self,
        cluster: Cluster,
        profiles: Mapping[str, Profile],
        *,
        secret: bytes,
        connections: int = 32,
        pool: Pool | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.scope = scope_of_pods(cluster.namespace)
        self.cluster = cluster
        self.profiles = dict(profiles)
        self._pool = pool or NoPool()
        self.gate = gate or OpenGate()
        self._templates: dict[Kind, str] = {}
        self._secret = secret
        self.api = Api(cluster.namespace, connections)
        self.watch = PodWatch(self.api)
        self.starts = Counters()
        self._doomed: dict[str, _Doomed] = {}
        self._has_doomed = threading.Condition()
        self._is_closed = False
        self._undertaker = threading.Thread(
            target=self._bury, name="pod-delete", daemon=True
        )
        self._undertaker.start()

    def token(self, name: str) -> str:
        """Return what the agent of the pod with this name wants to hear."""
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()

    # --- a Backend -------------------------------------------------------------------

    def start(self, spec: RunSpec, is_wanted: Wanted = always) -> Session:
        self.gate.pass_through(is_wanted)
        profile = self._fitting(spec)
        spec = _within(spec, profile)
        session = self._start_warm(spec, profile, is_wanted)
        how = WARM if session else COLD
        session = session or self._start_cold(spec, profile, is_wanted)
        self.starts.add(Kind(profile, spec.prestart or "").name, how)
        return session

    def _start_warm(
        self, spec: RunSpec, profile: Profile, is_wanted: Wanted
    ) -> Session | None:
        """Start the run in a pod of the pool; None when there is none for it."""
        if _budget_s(spec) > self.cluster.deadline_s:
            return None
        templates = self._suited(profile, spec.prestart)
        for _ in range(_WARM_TRIES):
            taken = self._pool.take(spec.key, templates, self.cluster.waiting_s)
            if taken is None:
                return None
            try:
                sock = _connected(taken.address, _WARM_CONNECT_S)
            except OSError as error:
                logger.warning("the waiting pod %s is lost: %s", taken.name, error)
                self.end(taken.name, taken.uid)
                self._pool.end(taken.name)
            else:
                return self.run_in(sock, taken.name, spec, profile, is_wanted)
        return None

    def _suited(self, profile: Profile, prestart: str | None) -> dict[str, str]:
        """Return the templates of the kinds of pods that suit, the best first."""
        kinds = [Kind(profile, prestart)] if prestart else []
        return {kind.name: self.template(kind) for kind in (*kinds, Kind(profile))}

    def fingerprint(self) -> str:
        """Return a hash of what all pods of these settings are made from."""
        made = [self.template(Kind(each)) for each in self.profiles.values()]
        return hashlib.sha256("".join(sorted(made)).encode()).hexdigest()[:16]

    def template(self, kind: Kind) -> str:
        if kind not in self._templates:
            self._templates[kind] = kind.template(self.cluster)
        return self._templates[kind]

    def _start_cold(
        self, spec: RunSpec, profile: Profile, is_wanted: Wanted
    ) -> Session:
        name = name_of(spec.key)
        deadline_s = _budget_s(spec) + int(_AGENT_TIMEOUT_S)
        pod = manifests.pod(
            name,
            profile,
            self.cluster,
            token=self.token(name),
            key=spec.key,
            prestart=spec.prestart or "",
            deadline_s=max(deadline_s, self.cluster.deadline_s),
        )
        sock = self.open(pod, is_wanted)
        return self.run_in(sock, name, spec, profile, is_wanted)

    def open(self, pod: Mapping[str, Any], is_wanted: Wanted = always) -> socket.socket:
        """Have a pod made, and return a connection to its agent.

        Raises SandboxUnavailable, NoSandboxNow or SandboxDetached; the pod goes then.
        """
        name = pod["metadata"]["name"]
        made = self.api.create(pod, is_wanted)
        self.watch.tell(made)
        if pods.is_fenced(made):
            raise SandboxUnavailable(f"{name} must not be started any more")
        try:
            return self._connect(name, _SCHEDULE_TIMEOUT_S, is_wanted)
        except SandboxError:
            self.end(name, pods.uid(made))
            raise

    def run_in(
        self,
        sock: socket.socket,
        name: str,
        spec: RunSpec,
        profile: Profile,
        is_wanted: Wanted = always,
    ) -> Session:
        """Run a program in a pod that is open; it goes when that fails."""
        try:
            if not is_wanted():
                sock.close()
                raise SandboxDetached
            session = AgentSession.start(sock, spec, token=self.token(name))
        except SandboxError:
            self.end(name)
            raise
        return PodSession(
            session,
            self,
            name,
            spec.key,
            spec=spec,
            scratch_bytes=profile.scratch_bytes,
        )

    def attach(self, key: str, is_wanted: Wanted = always) -> Session:
        taken = self._pool.find(key)
        name = taken.name if taken else name_of(key)
        try:
            pod = self.api.get(name, is_wanted)
        except LookupError:
            if taken is not None:
                raise SandboxGone(f"the pod {name} was deleted") from None
            pod = self._fence(name, key, is_wanted)
        except NoSandboxNow:
            # Where its address is known: it may well be there.
            if (known := taken or self._known(name)) is None:
                raise
            return self._attach_at(known, key, is_wanted)
        self.watch.tell(pod)
        if pods.is_fenced(pod):
            raise SandboxGone(f"there is no pod of {key}")
        if (ended := pods.fate(pod)) is not None:
            raise SandboxGone(ended[1])
        if not pods.address(pod):
            # Its owner was lost before there was anybody to send the program to.
            self._forgo(pod, key, is_wanted)
            raise NeverStarted(f"the pod {name} had not started")
        session = self.attached(name, key, is_wanted)
        scratch_bytes = manifests.scratch_bytes(pod)
        return PodSession(session, self, name, key, scratch_bytes=scratch_bytes)

    def _forgo(self, pod: Mapping[str, Any], key: str, is_wanted: Wanted) -> None:
        """Delete a pod that has not started, and put a fence in its place.

        Raises SandboxUnavailable when that takes longer than it should.
        """
        name, uid = pods.name(pod), pods.uid(pod)

        def look(seen: Seen | None) -> bool | None:
            return seen is None or seen.is_gone or pods.uid(seen.pod) != uid or None

        self.api.delete(name, uid)
        if not self.watch.wait_for(name, look, _FORGO_S):
            raise SandboxUnavailable(f"the pod {name}, which has not started, stays")
        if not pods.is_fenced(self._fence(name, key, is_wanted)):
            raise SandboxUnavailable(f"there is another pod {name}")

    def _fence(self, name: str, key: str, is_wanted: Wanted) -> dict[str, Any]:
        """Return the fence that takes this name, or the pod that has it already."""
        fence = manifests.fence(name, self.smallest(), self.cluster, key=key)
        return self.api.create(fence, is_wanted)

    def _known(self, name: str) -> Taken | None:
        """Return where the agent of a pod listens, if the watch has told."""
        seen = self.watch.get(name)
        if seen is None or seen.is_gone or not pods.address(seen.pod):
            return None
        return Taken(name, pods.uid(seen.pod), pods.address(seen.pod))

    def _attach_at(self, taken: Taken, key: str, is_wanted: Wanted) -> Session:
        _insist_on(is_wanted)
        try:
            sock = _connected(taken.address, _WARM_CONNECT_S)
        except OSError as error:
            raise SandboxUnavailable(f"{taken.name} cannot be reached") from error
        session = AgentSession.attach(sock, key, token=self.token(taken.name))
        return PodSession(session, self, taken.name, key)

    def attached(self, name: str, key: str, is_wanted: Wanted = always) -> AgentSession:
        """Follow the run in the pod of this name from its beginning.

        Raises SandboxGone when the cluster says that it has ended, else
        SandboxUnavailable.
        """
        try:
            sock = self._connect(name, _AGENT_TIMEOUT_S, is_wanted)
        except SandboxUnavailable as error:
            seen = self.watch.get(name)
            if seen is not None and pods.fate(seen.pod, is_deleted=seen.is_gone):
                raise SandboxGone(str(error)) from error
            raise
        return AgentSession.attach(sock, key, token=self.token(name))

    def held(self) -> list[str]:
        if not self.watch.wait_listed(_LISTED_TIMEOUT_S):
            raise SandboxUnavailable("the API server has not told of its pods yet")
        found = self._pool.held()
        for seen in self.watch.all():
            is_young_fence = pods.is_fenced(seen.pod) and seen.age_s < _FENCED_S
            if not (seen.is_gone or is_young_fence or pods.is_ending(seen.pod)):
                found.append(pods.label(seen.pod, KEY_LABEL))
        return [key for key in found if key]

    def discard(self, key: str) -> None:
        try:
            taken = self._pool.find(key)
        except SandboxUnavailable as error:
            logger.warning("the pod of %s stays for now: %s", key, error)
            return
        self.end(taken.name if taken else name_of(key))

    def greet(self, name: str, address: str) -> None:
        """Return once the agent of this pod has answered.

        Raises OSError and SandboxError when it does not within a few seconds.
        """
        give_up_at = time.monotonic() + _GREET_S
        while True:
            try:
                sock = _connected(address, 1.0)
                break
            except OSError:
                if time.monotonic() > give_up_at:
                    raise
            time.sleep(_GREET_EVERY_S)
        with sock:
            greet(sock, self.token(name))

    def end(self, name: str, uid: str = "", *, after_s: float = 0.0) -> None:
        """Have a pod deleted, in the background."""
        seen = self.watch.get(name)
        uid = uid or (pods.uid(seen.pod) if seen else "")
        with self._has_doomed:
            self._doomed[name] = _Doomed(uid, time.monotonic() + after_s)
            self._has_doomed.notify()

    def problems(self) -> list[str]:
        if self.watch.wait_listed(_LISTED_TIMEOUT_S):
            return []
        # For all that time: a server that has just started refuses everybody.
        problem = self.watch.problem
        if isinstance(problem, SandboxBroken):
            return [str(problem)]
        raise NoSandboxNow(f"the API server cannot be asked for pods: {problem}")

    def close(self) -> None:
        with self._has_doomed:
            self._is_closed = True
            self._has_doomed.notify()
        self.gate.close()
        self._undertaker.join(_CLOSE_S)
        self.watch.close()

    # --- pods ------------------------------------------------------------------------

    def _largest(self) -> Profile:
        return max(self.profiles.values(), key=lambda profile: profile.memory_bytes)

    def smallest(self) -> Profile:
        return min(self.profiles.values(), key=lambda profile: profile.memory_bytes)

    def _fitting(self, spec: RunSpec) -> Profile:
        """Return the profile that the runtime names, or a larger one if need be."""
        named = self.profiles.get(spec.profile) or self._largest()
        limits = [command.limits for command in _commands(spec)]
        memory = max(each.memory_bytes for each in limits)
        scratch = max(each.scratch_bytes for each in limits)
        enough = [
            profile
            for profile in self.profiles.values()
            if profile.memory_bytes >= max(memory, named.memory_bytes)
            and profile.scratch_bytes >= max(scratch, named.scratch_bytes)
        ]
        smallest = min(enough, key=lambda profile: profile.memory_bytes, default=None)
        return smallest or self._largest()

    def _connect(self, name: str, timeout_s: float, is_wanted: Wanted) -> socket.socket:
        """Connect to the agent of a pod as soon as it listens.

        Raises SandboxUnavailable, with what the cluster says, when it does not within
        `timeout_s`, or when waiting has no use.
        """
        waiting = _Waiting(time.monotonic() + timeout_s)
        while (address := self.watch.wait_for(name, waiting.look, _LOOK_S)) is None:
            _insist_on(is_wanted)
            waiting.give_up_late()
            self._ask_for(name)
        pause_s = _CONNECT_EVERY_S
        while True:
            try:
                return _connected(address, 1.0)
            except OSError as error:
                # It has an address before its container, and that before it listens.
                if time.monotonic() > waiting.deadline:
                    message = f"the agent in the pod does not answer: {error}"
                    raise SandboxUnavailable(message) from error
            _insist_on(is_wanted)
            time.sleep(pause_s)
            pause_s = min(1.1 * pause_s, _LONGEST_CONNECT_S)
            waiting.look(self.watch.get(name))

    def _ask_for(self, name: str) -> None:
        """Ask the API server for a pod of which the watch has told nothing lately."""
        seen = self.watch.get(name)
        if seen is not None and seen.age_s > _SILENCE_S:
            seen.at = time.monotonic()
            with contextlib.suppress(LookupError, SandboxUnavailable):
                self.watch.tell(self.api.get(name))

    def fate(self, name: str, is_wanted: Wanted = always) -> tuple[Fate, str] | None:
        """Return how a pod ended whose agent fell silent, waiting a moment for that."""

        def look(seen: Seen | None) -> tuple[Fate, str] | None:
            return pods.fate(seen.pod, is_deleted=seen.is_gone) if seen else None

        found = self.watch.wait_for(name, look, _FATE_TIMEOUT_S)
        if found is not None:
            return found
        try:
            return pods.fate(self.api.get(name, is_wanted))
        except LookupError:
            return Fate.DELETED, "the pod was deleted"
        except SandboxUnavailable:
            return None

    def _bury(self) -> None:
        """Delete pods that are of no use any more, one after the other."""
        while True:
            with self._has_doomed:
                if (next_one := self._next_doomed()) is None:
                    return
            name, uid = next_one
            try:
                if name.startswith(WARM_PREFIX):
                    self._pool.end(name)
                self.api.delete(name, uid)
            except Exception as error:  # noqa: BLE001 - the others shall go, too
                logger.warning("pod %s is not deleted yet: %s", name, error)

    def _next_doomed(self) -> tuple[str, str] | None:
        """Return a pod to be deleted, waiting for one; None when that is all."""
        while self._doomed or not self._is_closed:
            name = min(self._doomed, key=lambda each: self._doomed[each].at, default="")
            wait_s = self._doomed[name].at - time.monotonic() if name else None
            if wait_s is not None and (wait_s <= 0 or self._is_closed):
                return name, self._doomed.pop(name).uid
            self._has_doomed.wait(wait_s)
        return None


class _Doomed(NamedTuple):
    uid: str
    at: float  # monotonic; deleted then, or soon after


def _connected(address: str, timeout_s: float) -> socket.socket:
    """Return a connection to an agent. Raises OSError."""
    sock = socket.create_connection((address, AGENT_PORT), timeout=timeout_s)
    for option in KEEPALIVE:
        sock.setsockopt(*option)
    return sock


def _insist_on(is_wanted: Wanted) -> None:
    if not is_wanted():
        raise SandboxDetached


class _Waiting:
    """Looks at a pod that is to start, until it has an address or never will.

    `deadline` comes nearer once its container runs.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self._began = time.monotonic()
        self._problem: pods.Problem | None = None
        self._our_problem_since: float | None = None
        self._is_running = False

    def give_up_late(self) -> None:
        """Raise NoSandboxNow when it is past the deadline."""
        now = time.monotonic()
        if now > self.deadline:
            why = self._problem.text if self._problem else "nothing says why"
            message = f"the pod did not start within {now - self._began:.0f} s: {why}"
            raise NoSandboxNow(message)

    def look(self, seen: Seen | None) -> str | None:
        """Return the address, None as long as there is none.

        Raises SandboxUnavailable when there is no hope.
        """
        if seen is None:
            return None
        ended = pods.fate(seen.pod, is_deleted=seen.is_gone)
        if ended is not None:
            raise SandboxUnavailable(ended[1])
        now = time.monotonic()
        if pods.is_running(seen.pod) and not self._is_running:
            self._is_running = True
            self.deadline = min(self.deadline, now + _AGENT_TIMEOUT_S)
        problem = self._problem = pods.problem(seen.pod)
        if problem is None or not problem.is_ours:
            self._our_problem_since = None
        elif self._our_problem_since is None:
            self._our_problem_since = now
        elif now - self._our_problem_since > _OUR_PROBLEM_S:
            raise SandboxBroken(problem.text)
        return pods.address(seen.pod) or None


def name_of(key: str) -> str:
    """Return the name of the pod that is made for this attempt."""
    return f"exec-{key}"


def _commands(spec: RunSpec) -> list[Command]:
    return [spec.run] if spec.compile is None else [spec.compile, spec.run]


def _within(spec: RunSpec, profile: Profile) -> RunSpec:
    """Return the run with no limit above what the pod is given."""

    def fitted(command: Command) -> Command:
        limits = command.limits
        memory = min(limits.memory_bytes, profile.memory_bytes)
        scratch = min(limits.scratch_bytes, profile.scratch_bytes)
        limits = limits.with_(memory_bytes=memory, scratch_bytes=scratch)
        return replace(command, limits=limits)

    compiled = None if spec.compile is None else fitted(spec.compile)
    return replace(spec, compile=compiled, run=fitted(spec.run))


def _budget_s(spec: RunSpec) -> int:
    wall_ms = spec.run.limits.wall_time_ms * len(spec.cases)
    if spec.compile is not None:
        wall_ms += spec.compile.limits.wall_time_ms
    return wall_ms // 1000 + 1


def from_settings(
    settings: Any, pool: Pool | None = None, gate: Gate | None = None
) -> KubernetesBackend:
    """Return the backend that the SANDBOX_ settings describe."""
    profiles = {
        name: Profile(
            name,
            int(fields["memory_bytes"]),
            int(fields["scratch_bytes"]),
            str(fields["cpu_request"]),
            str(fields["cpu_limit"]),
        )
        for name, fields in settings.SANDBOX_PROFILES.items()
    } or {profile.name: profile for profile in DEFAULT_PROFILES}
    image = settings.SANDBOX_IMAGE
    cluster = Cluster(
        namespace=settings.SANDBOX_NAMESPACE,
        images=dict.fromkeys(profiles, image) | dict(settings.SANDBOX_IMAGES),
        pull_policy=settings.SANDBOX_PULL_POLICY,
        runtime_class=settings.SANDBOX_RUNTIME_CLASS,
        priority_class=settings.SANDBOX_PRIORITY_CLASS,
        node_selector=settings.SANDBOX_NODE_SELECTOR,
        tolerations=settings.SANDBOX_TOLERATIONS,
        has_user_namespaces=settings.SANDBOX_USER_NAMESPACES,
        has_open_network="api_server" in settings.SANDBOX_CANARY_OVERRIDE,
    )
    secret = hmac.new(
        settings.SECRET_KEY.encode(), b"coding-platform sandbox token", hashlib.sha256
    ).digest()
    return KubernetesBackend(
        cluster,
        profiles,
        secret=secret,
        connections=settings.WORKER_CONCURRENCY + 16,
        pool=pool,
        gate=gate,
    )
