"""The channel between processes, on Redis.

For each run a stream of news and one of control messages, both bounded and expiring.
Two pub/sub channels serve all runs: who listens subscribes once for the whole process,
so that waiting for a run and owning one cost no round trip. Their messages are only
wake-ups: what counts is in the row, or in the stream. Of runs that end, only processes
are told in which somebody has waited for one: not the workers.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from executions.channel import ChannelDown, Control, News, Waiters, _Flag
from executions.redis_links import Links, packed

logger = logging.getLogger(__name__)

LOG_ENTRIES = 1024
"""With chunks of at most 64 KiB; a worker stops publishing a run's output earlier."""
CONTROL_ENTRIES = 4096
ABANDONED_S = 3600
FINISHED_S = 120

LISTEN_S = 5.0
"""How long to hear nothing before asking whether the connection is alive."""
EARLY_S = 30.0
"""How long a message for a run that nobody here owns yet is remembered."""
ID_BYTES = 16
PAUSE_S = 1.0
"""How long to leave a Redis alone that did not answer."""


class RedisChannel:
    """One instance serves all threads of a process; its listener starts when needed."""

    def __init__(self, url: str) -> None:
        options: dict[str, Any] = {
            "socket_connect_timeout": settings.REDIS_CONNECT_TIMEOUT_S,
            "socket_keepalive": True,
            "retry": Retry(NoBackoff(), 1),
        }
        self._redis = redis.Redis.from_url(url, socket_timeout=3, **options)
        self._hearing = redis.Redis.from_url(url, socket_timeout=10, **options)
        # Pub/sub does not know databases: keep several installations apart.
        number = self._redis.connection_pool.connection_kwargs.get("db", 0)
        self._finished = f"executions:{number}:finished"
        self._control = f"executions:{number}:control"
        self._waiters = Waiters()
        self._lock = threading.Lock()
        self._receivers: dict[UUID, Callable[[], None]] = {}
        self._early: dict[UUID, float] = {}
        self._listener: threading.Thread | None = None
        self._connected = threading.Event()
        self._links = Links(url, timeout_s=3)
        self._waits = False
        self._is_closed = False
        self._down_until = 0.0

    # Runs to whoever waits.

    def publish(self, execution_id: UUID, news: Sequence[News]) -> None:
        key = _key(execution_id, "out").encode()
        is_finished = any(item.kind == "finished" for item in news)
        commands = [_appended(key, item) for item in news]
        kept_s = FINISHED_S if is_finished else ABANDONED_S
        commands.append(packed(b"EXPIRE", key, b"%d" % kept_s))
        if is_finished:
            name = self._finished.encode()
            commands.append(packed(b"PUBLISH", name, execution_id.bytes))
        with self._calls():
            self._links.exchange(commands)

    def expect(self, execution_id: UUID) -> None:
        self._hear()
        if self._connected.is_set():
            self._waiters.expect(execution_id)

    @contextmanager
    def waiter(self, execution_id: UUID) -> Iterator[_Flag]:
        with self._waiters.waiter(execution_id) as flag:
            self._hear()
            yield flag

    def follow(
        self, execution_id: UUID, after: str = "0", timeout_s: float = 60.0
    ) -> Iterator[News]:
        deadline, key = time.monotonic() + timeout_s, _key(execution_id, "out")
        while (left := deadline - time.monotonic()) > 0:
            block_ms = max(1, int(min(left, LISTEN_S) * 1000))
            with self._calls():
                found: Any = self._hearing.xread({key: after}, block=block_ms)
            for cursor, entry in found[0][1] if found else ():
                after = cursor.decode()
                item = _news(entry, after)
                yield item
                if item.kind == "finished":
                    return

    # Whoever may, to the owner of the run.

    def send(self, execution_id: UUID, control: Control) -> None:
        key = _key(execution_id, "in")
        entry: dict[Any, Any] = {
            "k": control.kind,
            "d": control.data,
            "n": control.number,
        }
        with self._calls(), self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd(key, entry, maxlen=CONTROL_ENTRIES, approximate=True)
            pipe.expire(key, ABANDONED_S)
            pipe.publish(self._control, execution_id.bytes)
            pipe.execute()

    @contextmanager
    def listen(
        self, execution_id: UUID, receive: Callable[[Control], None], *, late: bool
    ) -> Iterator[None]:
        fetch = self._fetcher(execution_id, receive)
        with self._lock:
            self._receivers[execution_id] = fetch
            is_early = self._early.pop(execution_id, None) is not None
        self._hear(waits=False)
        if late or is_early:
            with contextlib.suppress(ChannelDown):
                fetch()
        try:
            yield
        finally:
            with self._lock:
                if self._receivers.get(execution_id) is fetch:
                    del self._receivers[execution_id]

    def _fetcher(
        self, execution_id: UUID, receive: Callable[[Control], None]
    ) -> Callable[[], None]:
        """Return what reads the unread control messages, and deletes them once read."""
        key, lock = _key(execution_id, "in"), threading.Lock()

        def fetch() -> None:
            with lock, self._calls():
                found: Any = self._redis.xrange(key)
                for _, entry in found:
                    if (control := _as_control(entry)) is not None:
                        receive(control)
                if found:
                    self._redis.xdel(key, *(cursor for cursor, _ in found))

        return fetch

    # Who is there.

    def beat(self, worker: str, seconds: float) -> None:
        with self._calls(), self._redis.pipeline(transaction=False) as pipe:
            pipe.set(f"worker:{worker}", b"", px=int(seconds * 1000))
            pipe.sadd("workers", worker)
            pipe.execute()

    def workers(self) -> list[str]:
        """Never looks through all keys: there are two for each run of the last hour."""
        with self._calls():
            known: Any = self._redis.smembers("workers")
            names = sorted(name.decode() for name in known)
            if not names:
                return []
            signs: Any = self._redis.mget([f"worker:{name}" for name in names])
            alive = [
                n for n, sign in zip(names, signs, strict=True) if sign is not None
            ]
            if gone := set(names) - set(alive):
                self._redis.srem("workers", *gone)
            return alive

    def close(self) -> None:
        self._is_closed = True
        self._links.close()
        self._redis.close()
        self._hearing.close()

    # The connection.

    @contextmanager
    def _calls(self) -> Iterator[None]:
        """Turn what Redis raises into ChannelDown, and leave it alone for a moment.

        Otherwise every finished run would wait for a timeout of its own.
        """
        if time.monotonic() < self._down_until:
            raise ChannelDown("Redis did not answer a moment ago")
        try:
            yield
        except redis.RedisError as error:
            self._down_until = time.monotonic() + PAUSE_S
            raise ChannelDown(str(error)) from error

    def _hear(self, *, waits: bool = True) -> None:
        """Start the listener; wait for its first subscription, but not for long."""
        if waits and not self._waits:
            self._hear_more()
        if self._connected.is_set():
            return
        with self._lock:
            if self._listener is None and not self._is_closed:
                self._listener = threading.Thread(
                    target=self._listen, name="channel", daemon=True
                )
                self._listener.start()
        self._connected.wait(settings.REDIS_CONNECT_TIMEOUT_S)

    def _hear_more(self) -> None:
        """Hear also of runs that end; a worker's listener would be woken by each."""
        with self._lock:
            if self._waits:
                return  # another thread was here first; the listener may be done
            is_listening = self._listener is not None
            # In this order: what the listener does about the second undoes the first.
            self._connected.clear()
            self._waits = True
        if is_listening:
            with contextlib.suppress(ChannelDown), self._calls():
                # Has it look; no message of ours is empty.
                self._redis.publish(self._control, b"")

    def _listen(self) -> None:
        is_down = False
        while not self._is_closed:
            try:
                self._listen_once()
            except (redis.RedisError, OSError, ValueError, AttributeError) as error:
                # The last two: redis-py, when the connection is closed under it.
                self._connected.clear()
                if not is_down and not self._is_closed:
                    logger.warning("Redis is away, news may be lost: %s", error)
                is_down = True
                time.sleep(0.5)
            else:
                is_down = False

    def _listen_once(self) -> None:
        """Subscribe, then pass messages on until the connection breaks."""
        with self._hearing.pubsub() as pubsub:  # type: ignore[no-untyped-call]
            names: tuple[str, ...] = ()
            heard_at = time.monotonic()
            while not self._is_closed:
                if self._waits and self._finished not in names:
                    names = (self._finished, self._control)
                    pubsub.subscribe(*names)
                elif not names:
                    names = (self._control,)
                    pubsub.subscribe(*names)
                message: Any = pubsub.get_message(timeout=LISTEN_S)
                if message is not None:
                    heard_at = time.monotonic()
                    self._take(message)
                elif time.monotonic() - heard_at > 2 * LISTEN_S:
                    raise redis.ConnectionError("no answer to a ping")
                else:
                    pubsub.ping()

    def _take(self, message: Any) -> None:
        if message["type"] == "subscribe":
            if message["channel"] == self._control.encode():
                # From here on nothing is missed; before, anything may have been.
                self._connected.set()
                self._waiters.wake_all()
                self._fetch_all()
        elif message["type"] == "message" and len(message["data"]) == ID_BYTES:
            execution_id = UUID(bytes=message["data"])
            if message["channel"] == self._finished.encode():
                self._waiters.wake(execution_id)
            else:
                self._fetch_one(execution_id)

    def _fetch_one(self, execution_id: UUID) -> None:
        with self._lock:
            fetch = self._receivers.get(execution_id)
            if fetch is None:
                self._remember_early(execution_id)
        if fetch is not None:
            with contextlib.suppress(ChannelDown):
                fetch()

    def _remember_early(self, execution_id: UUID) -> None:
        """A run may have been claimed here a moment ago and not listen yet."""
        now = time.monotonic()
        for key in [k for k, until in self._early.items() if until < now]:
            del self._early[key]
        self._early[execution_id] = now + EARLY_S

    def _fetch_all(self) -> None:
        with self._lock:
            fetches = list(self._receivers.values())
        for fetch in fetches:
            with contextlib.suppress(ChannelDown):
                fetch()


def _key(execution_id: UUID, direction: str) -> str:
    return f"run:{execution_id}:{direction}"


def _appended(key: bytes, item: News) -> bytes:
    """Return the command that appends one item to a run's log."""
    head = json.dumps({"kind": item.kind, **item.fields}).encode()
    data = (b"d", item.data) if item.data else ()
    most = b"%d" % LOG_ENTRIES
    return packed(b"XADD", key, b"MAXLEN", b"~", most, b"*", b"h", head, *data)


def _news(entry: dict[bytes, bytes], cursor: str) -> News:
    fields = json.loads(entry[b"h"])
    kind = fields.pop("kind")
    return News(kind=kind, fields=fields, data=entry.get(b"d", b""), cursor=cursor)


def _as_control(entry: dict[bytes, bytes]) -> Control | None:
    """Return a message, or None for what is none: others may write to the broker."""
    try:
        return Control(entry[b"k"].decode(), entry[b"d"], int(entry[b"n"]))
    except (KeyError, ValueError):
        return None
