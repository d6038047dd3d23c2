"""The backend that runs each program in a pod of its own.

A cold run costs two API calls: the pod's creation and its deletion. What happens to it
is told by one shared watch, and the program, its input and its outcome go over a
connection to the agent in the pod, never through the API server.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from executions.sandbox import manifests, pods
from executions.sandbox.base import (
    End,
    Event,
    Finished,
    Outcome,
    RunSpec,
    SandboxDetached,
    SandboxError,
    SandboxGone,
    SandboxUnavailable,
    Session,
    StageOutcome,
    StageStarted,
)
from executions.sandbox.manifests import (
    AGENT_PORT,
    DEFAULT_PROFILES,
    KEY_LABEL,
    SELECTOR,
    Cluster,
    Profile,
)
from executions.sandbox.pods import Fate
from executions.sandbox.session import AgentSession
from executions.sandbox.watch import PodWatch, Seen, TooOld

logger = logging.getLogger(__name__)

_CONNECT_S: Final = 3.05
_CALL_TIMEOUT_S: Final = (_CONNECT_S, 20.0)
_WATCH_S: Final = 30
_WATCH_TIMEOUT_S: Final = (_CONNECT_S, 45.0)
# Finds a dead peer in 11 s.
_KEEPALIVE: Final = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
]
_TRIES: Final = 6
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
_RETRIED: Final = frozenset((429, 500, 502, 503, 504))
# A pod that waits longer than this for a node, an image or its start is given up.
_SCHEDULE_TIMEOUT_S: Final = 120.0
_OUR_PROBLEM_S: Final = 20.0
_AGENT_TIMEOUT_S: Final = 30.0
_CONNECT_EVERY_S: Final = 0.005
_LONGEST_CONNECT_S: Final = 0.1
# The watch tells why an agent fell silent within this time, or nobody does.
_FATE_TIMEOUT_S: Final = 3.0
_LISTED_TIMEOUT_S: Final = 10.0
# How long a fence stands at least: a create that was on its way comes sooner.
_FENCED_S: Final = 30.0


class Api:
    """The few calls that we make, in raw JSON; safe to use from many threads.

    Raises SandboxUnavailable when the API server cannot be asked, and LookupError for
    what is not there. `calls` counts them by verb, without those of the watch.
    """

    def __init__(self, namespace: str, connections: int) -> None:
        self.namespace = namespace
        settings = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=settings)
        except config.ConfigException:
            config.load_kube_config(client_configuration=settings)
        settings.connection_pool_maxsize = connections
        settings.socket_options = _KEEPALIVE
        settings.retries = False
        self._core = client.CoreV1Api(client.ApiClient(settings))
        self.calls: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._followed: Any = None
        self._not_before = 0.0

    def create(self, pod: Mapping[str, Any]) -> dict[str, Any]:
        """Create a pod; what has this name already is returned as it is."""
        try:
            return self._insist(
                "create",
                lambda: self._core.create_namespaced_pod(
                    self.namespace, pod, **_raw(_CALL_TIMEOUT_S)
                ),
            )
        except ApiException as error:
            if _reason(error) == "AlreadyExists":
                return self.get(pod["metadata"]["name"])
            raise _refused(error) from error

    def get(self, name: str) -> dict[str, Any]:
        try:
            return self._insist(
                "get",
                lambda: self._core.read_namespaced_pod(
                    name, self.namespace, **_raw(_CALL_TIMEOUT_S)
                ),
            )
        except ApiException as error:
            if error.status == 404:  # noqa: PLR2004
                raise LookupError(name) from error
            raise _refused(error) from error

    def delete(self, name: str, uid: str = "") -> None:
        """Delete a pod, that with this uid only; one that is gone already is fine."""
        options = {"preconditions": {"uid": uid}} if uid else {}
        try:
            self._insist(
                "delete",
                lambda: self._core.delete_namespaced_pod(
                    name, self.namespace, body=options, **_raw(_CALL_TIMEOUT_S)
                ),
            )
        except ApiException as error:
            if error.status not in (404, 409):
                raise _refused(error) from error

    # --- a watch.Source ---

    def list(self) -> tuple[list[dict[str, Any]], str]:
        answer = self._core.list_namespaced_pod(
            self.namespace,
            label_selector=SELECTOR,
            resource_version="0",
            **_raw(_CALL_TIMEOUT_S),
        )
        found = json.loads(answer.data)
        return found["items"], found["metadata"]["resourceVersion"]

    def follow(self, version: str) -> Iterator[bytes]:
        try:
            answer = self._core.list_namespaced_pod(
                self.namespace,
                label_selector=SELECTOR,
                resource_version=version,
                allow_watch_bookmarks=True,
                timeout_seconds=_WATCH_S + random.randrange(10),  # noqa: S311
                watch=True,
                **_raw(_WATCH_TIMEOUT_S),
            )
        except ApiException as error:
            if error.status == 410:  # noqa: PLR2004
                raise TooOld from error
            raise
        self._followed = answer
        try:
            rest = b""
            for part in answer.stream(amt=None):
                *lines, rest = (rest + part).split(b"\n")
                yield from filter(None, lines)
        finally:
            self._followed = None
            answer.close()
            answer.release_conn()

    def interrupt(self) -> None:
        if (answer := self._followed) is not None:
            with contextlib.suppress(Exception):
                answer.shutdown()

    # --- trying again ---

    def _insist(self, verb: str, call: Callable[[], Any]) -> dict[str, Any]:
        """Make a call that may be repeated; raise ApiException for a clear refusal.

        Waits as long as the server asks for (429), else longer each time.
        """
        pause_s = _FIRST_PAUSE_S
        for _ in range(_TRIES):
            self._obey()
            with self._counting:
                self.calls[verb] += 1
            try:
                answer: dict[str, Any] = json.loads(call().data)
            except ApiException as error:
                if not _is_passing(error):
                    raise
                problem: Exception = error
                asked_until = time.monotonic() + _retry_after_s(error)
                self._not_before = max(self._not_before, asked_until)
            except (HTTPError, OSError, ValueError, AttributeError) as error:
                # The last is the client's own about a failed TLS handshake: it has no
                # body.
                problem = error
            else:
                return answer
            time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        raise SandboxUnavailable(f"the API server cannot be asked: {_text(problem)}")

    def _obey(self) -> None:
        """Wait until the server wants to hear from this process again."""
        left_s = self._not_before - time.monotonic()
        if left_s > 0:
            time.sleep(min(left_s, 60.0))


def _raw(timeout_s: tuple[float, float]) -> dict[str, Any]:
    return {"_preload_content": False, "_request_timeout": timeout_s}


def _body(error: ApiException) -> dict[str, Any]:
    try:
        body = json.loads(error.body or "{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _reason(error: ApiException) -> str:
    return str(_body(error).get("reason", ""))


def _text(error: Exception) -> str:
    if isinstance(error, ApiException):
        return str(_body(error).get("message") or f"{error.status} {error.reason}")
    return str(error)


def _is_passing(error: ApiException) -> bool:
    """Whether the same call may well succeed in a moment."""
    if error.status in _RETRIED:
        return True
    # Bursts run into each other over the quota's own object (kubernetes#67761), and a
    # quota that is used up is free again when a pod ends.
    text = _text(error)
    is_conflict = error.status == 409 and "resourcequotas" in text  # noqa: PLR2004
    is_used_up = error.status == 403 and "exceeded quota" in text  # noqa: PLR2004
    return is_conflict or is_used_up


def _retry_after_s(error: ApiException) -> float:
    try:
        return min(60.0, float((error.headers or {}).get("Retry-After", 0)))
    except ValueError:
        return 0.0


def _refused(error: ApiException) -> SandboxUnavailable:
    return SandboxUnavailable(f"the API server refuses: {_text(error)}")


class KubernetesBackend:
    """A Backend of pods, one for each run. Safe to use from many threads.

    `secret` makes the agents' tokens: whoever has it can speak to them.
    """

    def __init__(
        self,
        cluster: Cluster,
        profiles: Mapping[str, Profile],
        *,
        secret: bytes,
        connections: int = 32,
    ) -> None:
        self.scope = f"pods:{cluster.namespace}"
        self._cluster = cluster
        self._profiles = dict(profiles)
        self._secret = secret
        self.api = Api(cluster.namespace, connections)
        self.watch = PodWatch(self.api)
        self._doomed: list[tuple[str, str]] = []
        self._has_doomed = threading.Condition()
        self._is_closed = False
        threading.Thread(target=self._bury, name="pod-delete", daemon=True).start()

    def token(self, name: str) -> str:
        """Return what the agent of the pod with this name wants to hear."""
        return hmac.new(self._secret, name.encode(), hashlib.sha256).hexdigest()

    # --- a Backend -------------------------------------------------------------------

    def start(self, spec: RunSpec) -> Session:
        name = name_of(spec.key)
        profile = self._profiles.get(spec.profile) or self._largest()
        deadline_s = _budget_s(spec) + int(_AGENT_TIMEOUT_S)
        made = self.api.create(
            manifests.pod(
                name,
                profile,
                self._cluster,
                token=self.token(name),
                key=spec.key,
                deadline_s=max(deadline_s, self._cluster.deadline_s),
            )
        )
        self.watch.tell(made)
        if pods.is_fenced(made):
            raise SandboxUnavailable(f"{spec.key} must not be started any more")
        try:
            sock = self._connect(name, _SCHEDULE_TIMEOUT_S)
            session = AgentSession.start(sock, spec, token=self.token(name))
        except SandboxError:
            self.discard(spec.key)
            raise
        return _PodSession(session, self, name, spec)

    def attach(self, key: str) -> Session:
        name = name_of(key)
        try:
            pod = self.api.get(name)
        except LookupError:
            pod = self.api.create(
                manifests.fence(name, self._largest(), self._cluster, key=key)
            )
        self.watch.tell(pod)
        if pods.is_fenced(pod):
            raise SandboxGone(f"there is no pod of {key}")
        if (ended := pods.fate(pod)) is not None:
            raise SandboxGone(ended[1])
        try:
            sock = self._connect(name, _AGENT_TIMEOUT_S)
        except SandboxUnavailable as error:
            seen = self.watch.get(name)
            if seen is not None and pods.fate(seen.pod, is_deleted=seen.is_gone):
                raise SandboxGone(str(error)) from error
            raise
        session = AgentSession.attach(sock, key, token=self.token(name))
        return _PodSession(session, self, name, None)

    def held(self) -> list[str]:
        if not self.watch.wait_listed(_LISTED_TIMEOUT_S):
            raise SandboxUnavailable("the API server has not told of its pods yet")
        found = []
        for seen in self.watch.all():
            is_young_fence = pods.is_fenced(seen.pod) and seen.age_s < _FENCED_S
            if not (seen.is_gone or is_young_fence or pods.is_ending(seen.pod)):
                found.append(pods.label(seen.pod, KEY_LABEL))
        return [key for key in found if key]

    def discard(self, key: str) -> None:
        """Have the pod deleted, in the background."""
        seen = self.watch.get(name_of(key))
        with self._has_doomed:
            self._doomed.append((name_of(key), pods.uid(seen.pod) if seen else ""))
            self._has_doomed.notify()

    def problems(self) -> list[str]:
        if not self.watch.wait_listed(_LISTED_TIMEOUT_S):
            return ["the Kubernetes API server cannot be asked for pods"]
        return []

    def close(self) -> None:
        with self._has_doomed:
            self._is_closed = True
            self._has_doomed.notify()
        self.watch.close()

    # --- pods ------------------------------------------------------------------------

    def _largest(self) -> Profile:
        return max(self._profiles.values(), key=lambda profile: profile.memory_bytes)

    def _connect(self, name: str, timeout_s: float) -> socket.socket:
        """Connect to the agent of a pod as soon as it listens.

        Raises SandboxUnavailable, with what the cluster says, when it does not within
        `timeout_s`, or when waiting has no use.
        """
        waiting = _Waiting(time.monotonic() + timeout_s)
        address = self.watch.wait_for(name, waiting.look, timeout_s)
        pause_s = _CONNECT_EVERY_S
        while address is not None:
            try:
                sock = socket.create_connection((address, AGENT_PORT), timeout=1.0)
            except OSError as error:
                # It has an address before its container, and that before it listens.
                if time.monotonic() > waiting.deadline:
                    message = f"the agent in the pod does not answer: {error}"
                    raise SandboxUnavailable(message) from error
                time.sleep(pause_s)
                pause_s = min(1.1 * pause_s, _LONGEST_CONNECT_S)
                waiting.look(self.watch.get(name))
            else:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
        why = waiting.problem or "nothing says why"
        message = f"the pod did not start within {timeout_s:.0f} s: {why}"
        raise SandboxUnavailable(message)

    def fate(self, name: str) -> tuple[Fate, str] | None:
        """Return how a pod ended whose agent fell silent, waiting a moment for that."""

        def look(seen: Seen | None) -> tuple[Fate, str] | None:
            return pods.fate(seen.pod, is_deleted=seen.is_gone) if seen else None

        found = self.watch.wait_for(name, look, _FATE_TIMEOUT_S)
        if found is not None:
            return found
        try:
            return pods.fate(self.api.get(name))
        except LookupError:
            return Fate.DELETED, "the pod was deleted"
        except SandboxUnavailable:
            return None

    def _bury(self) -> None:
        """Delete pods that are of no use any more, one after the other."""
        while True:
            with self._has_doomed:
                self._has_doomed.wait_for(lambda: self._doomed or self._is_closed)
                if not self._doomed:
                    return
                name, uid = self._doomed.pop(0)
            try:
                self.api.delete(name, uid)
            except Exception as error:  # noqa: BLE001 - the others shall go, too
                logger.warning("pod %s is not deleted yet: %s", name, error)


class _Waiting:
    """Looks at a pod that is to start, until it has an address or never will.

    `deadline` comes nearer once its container runs.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.problem = ""
        self._our_problem_since: float | None = None
        self._is_running = False

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
        problem = pods.problem(seen.pod)
        self.problem = problem.text if problem else ""
        if problem is None or not problem.is_ours:
            self._our_problem_since = None
        elif self._our_problem_since is None:
            self._our_problem_since = now
        elif now - self._our_problem_since > _OUR_PROBLEM_S:
            raise SandboxUnavailable(problem.text)
        return pods.address(seen.pod) or None


class _PodSession:
    """A Session whose end the cluster may know more about than the connection."""

    def __init__(
        self,
        session: AgentSession,
        backend: KubernetesBackend,
        name: str,
        spec: RunSpec | None,
    ) -> None:
        self._session = session
        self._backend = backend
        self._name = name
        self._spec = spec
        self._stages: list[StageStarted] = []

    def events(self) -> Iterator[Event]:
        try:
            for event in self._session.events():
                if isinstance(event, StageStarted):
                    self._stages.append(event)
                yield event
        except (SandboxDetached, SandboxUnavailable):
            raise
        except SandboxError as error:
            ended = self._backend.fate(self._name)
            if ended is None:
                raise
            fate, text = ended
            if fate is Fate.MEMORY and self._spec is not None and self._stages:
                yield Finished(self._out_of_memory(self._spec))
                return
            if fate is Fate.REFUSED:
                raise SandboxUnavailable(text) from error
            raise SandboxGone(text) from error

    def _out_of_memory(self, spec: RunSpec) -> Outcome:
        """Return the outcome of a run whose agent the kernel killed with it."""
        stage = self._stages[-1]
        command = spec.compile if stage.stage == "compile" else spec.run
        limits = (command or spec.run).limits
        outcome = StageOutcome(
            end=End.MEMORY,
            limits=limits,
            memory_peak_bytes=limits.memory_bytes,
            message="the pod was out of memory",
        )
        if stage.stage == "compile":
            return Outcome(compile=outcome, cases=())
        return Outcome(compile=None, cases=(outcome,) * max(1, len(spec.cases)))

    def send_stdin(self, data: bytes) -> None:
        self._session.send_stdin(data)

    def close_stdin(self) -> None:
        self._session.close_stdin()

    def signal(self, number: int) -> None:
        self._session.signal(number)

    def cancel(self) -> None:
        self._session.cancel()

    def acknowledge(self) -> None:
        self._session.acknowledge()
        self._backend.discard(_key(self._name))

    def detach(self) -> None:
        self._session.detach()


def name_of(key: str) -> str:
    """Return the name of the pod that is made for this attempt."""
    return f"exec-{key}"


def _key(name: str) -> str:
    return name.removeprefix("exec-")


def _budget_s(spec: RunSpec) -> int:
    wall_ms = spec.run.limits.wall_time_ms * len(spec.cases)
    if spec.compile is not None:
        wall_ms += spec.compile.limits.wall_time_ms
    return wall_ms // 1000 + 1


def from_settings(settings: Any) -> KubernetesBackend:
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
    )
    secret = hmac.new(
        settings.SECRET_KEY.encode(), b"coding-platform sandbox token", hashlib.sha256
    ).digest()
    return KubernetesBackend(
        cluster,
        profiles,
        secret=secret,
        connections=settings.WORKER_CONCURRENCY + 16,
    )
