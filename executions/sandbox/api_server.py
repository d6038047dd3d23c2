"""The few calls to the Kubernetes API server that running programs takes.

In raw JSON, as the client's own models cost 25 times as much to read; each safe to
repeat, and each repeated while that may help.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from executions.sandbox.base import (
    NoSandboxNow,
    SandboxBroken,
    SandboxDetached,
    SandboxUnavailable,
    Wanted,
    always,
)
from executions.sandbox.counters import Counters
from executions.sandbox.manifests import SELECTOR
from executions.sandbox.watch import TooOld

_CONNECT_S: Final = 3.05
_CALL_TIMEOUT_S: Final = (_CONNECT_S, 20.0)
_WATCH_S: Final = 30
_WATCH_TIMEOUT_S: Final = (_CONNECT_S, 45.0)
# Finds a dead peer in 11 s.
KEEPALIVE: Final = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
]
_TRIES: Final = 6
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
# How often it is looked whether a call is still wanted.
_LOOK_S: Final = 0.2
_RENEW_EVERY_S: Final = 0.5
_RETRIED: Final = frozenset((429, 500, 502, 503, 504))
NO_ANSWER: Final = "none"


class Api:
    """Speaks of the pods of one namespace; safe to use from many threads.

    Raises NoSandboxNow when the server cannot be asked for longer than repeating makes
    sense, or is asked for more than there is; SandboxUnavailable for what it refuses;
    SandboxDetached when `is_wanted` says no meanwhile; LookupError for what is not
    there. `calls` counts by verb and status, which is "none" where no answer came.
    """

    def __init__(self, namespace: str, connections: int) -> None:
        self.namespace = namespace
        self._connections = connections
        self._core = _client(connections)
        self._renewing = threading.Lock()
        self._renewed_at = time.monotonic()
        self.calls = Counters()
        self._followed: Any = None
        self._not_before = 0.0

    def create(
        self, pod: Mapping[str, Any], is_wanted: Wanted = always
    ) -> dict[str, Any]:
        """Create a pod; what has this name already is returned as it is."""
        try:
            return self._insist(
                "create",
                lambda: self._core.create_namespaced_pod(
                    self.namespace, pod, **_raw(_CALL_TIMEOUT_S)
                ),
                is_wanted,
            )
        except ApiException as error:
            if _reason(error) != "AlreadyExists":
                raise _refused(error) from error
        name = pod["metadata"]["name"]
        try:
            return self.get(name)
        except LookupError as error:
            # Deleted since: its name was used, and shall not be used again.
            raise SandboxUnavailable(f"the pod {name} was deleted") from error

    def get(self, name: str, is_wanted: Wanted = always) -> dict[str, Any]:
        try:
            return self._insist(
                "get",
                lambda: self._core.read_namespaced_pod(
                    name, self.namespace, **_raw(_CALL_TIMEOUT_S)
                ),
                is_wanted,
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
        try:
            answer = self._counted(
                "list",
                lambda: self._core.list_namespaced_pod(
                    self.namespace,
                    label_selector=SELECTOR,
                    resource_version="0",
                    **_raw(_CALL_TIMEOUT_S),
                ),
            )
        except ApiException as error:
            self._renew_after(error)
            if error.status == 403:  # noqa: PLR2004
                raise _refused(error) from error
            raise NoSandboxNow(_text(error)) from error
        found = json.loads(answer.data)
        return found["items"], found["metadata"]["resourceVersion"]

    def follow(self, version: str) -> Iterator[bytes]:
        try:
            answer = self._counted(
                "watch",
                lambda: self._core.list_namespaced_pod(
                    self.namespace,
                    label_selector=SELECTOR,
                    resource_version=version,
                    allow_watch_bookmarks=True,
                    timeout_seconds=_WATCH_S + random.randrange(10),  # noqa: S311
                    watch=True,
                    **_raw(_WATCH_TIMEOUT_S),
                ),
            )
        except ApiException as error:
            if error.status == 410:  # noqa: PLR2004
                raise TooOld from error
            self._renew_after(error)
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

    def _insist(
        self, verb: str, call: Callable[[], Any], is_wanted: Wanted = always
    ) -> dict[str, Any]:
        """Make a call that may be repeated; raise ApiException for a clear refusal.

        Waits as long as the server asks for (429), else longer each time.
        """
        pause_s = _FIRST_PAUSE_S
        for _ in range(_TRIES):
            _pause_until(self._not_before, is_wanted)
            try:
                answer: dict[str, Any] = json.loads(self._counted(verb, call).data)
            except ApiException as error:
                if not _is_passing(error):
                    raise
                self._renew_after(error)
                problem: Exception = error
                asked_until = time.monotonic() + _retry_after_s(error)
                self._not_before = max(self._not_before, asked_until)
            except (HTTPError, OSError, ValueError, AttributeError) as error:
                # The last is the client's own about a failed TLS handshake: it has no
                # body.
                problem = error
            else:
                return answer
            pause = pause_s * random.uniform(0.5, 1.5)  # noqa: S311
            _pause_until(time.monotonic() + pause, is_wanted)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        raise NoSandboxNow(f"the API server cannot be asked: {_text(problem)}")

    def _counted(self, verb: str, call: Callable[[], Any]) -> Any:
        status = NO_ANSWER
        try:
            answer = call()
            status = str(answer.status)
        except ApiException as error:
            status = str(error.status or NO_ANSWER)
            raise
        finally:
            self.calls.add(verb, status)
        return answer

    def _renew_after(self, error: ApiException) -> None:
        """Read the credentials again when they are not, or no longer, good.

        A token's file has a newer one by then. The client itself looks into that of a
        service account once a minute, and never again into a kubeconfig's.
        """
        if error.status != 401:  # noqa: PLR2004
            return
        with self._renewing:
            now = time.monotonic()
            if now - self._renewed_at < _RENEW_EVERY_S:
                return
            self._renewed_at = now
        before = self._core
        with contextlib.suppress(SandboxUnavailable):
            self._core = _client(self._connections)
            before.api_client.rest_client.pool_manager.clear()


def _client(connections: int) -> client.CoreV1Api:
    """Return a client with what the service account, or KUBECONFIG, says now."""
    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)
    except config.ConfigException:
        try:
            # The client knows the variable only as it was when it was imported.
            file = os.environ.get("KUBECONFIG")
            config.load_kube_config(file, client_configuration=settings)
        except (config.ConfigException, OSError) as error:
            raise SandboxUnavailable(f"no cluster is known: {error}") from error
    settings.connection_pool_maxsize = connections
    settings.socket_options = KEEPALIVE
    settings.retries = False
    return client.CoreV1Api(client.ApiClient(settings))


def _pause_until(at: float, is_wanted: Wanted) -> None:
    """Wait until that monotonic time; raises SandboxDetached."""
    while True:
        if not is_wanted():
            raise SandboxDetached
        left_s = at - time.monotonic()
        if left_s <= 0:
            return
        time.sleep(min(left_s, _LOOK_S))


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
    # A server that has just started does not know yet who may do what.
    is_unknown = error.status == 401  # noqa: PLR2004
    is_not_allowed = error.status == 403 and " cannot " in text  # noqa: PLR2004
    return is_conflict or is_used_up or is_unknown or is_not_allowed


def _retry_after_s(error: ApiException) -> float:
    try:
        return min(60.0, float((error.headers or {}).get("Retry-After", 0)))
    except ValueError:
        return 0.0


def _refused(error: ApiException) -> SandboxBroken:
    return SandboxBroken(f"the API server refuses: {_text(error)}")
