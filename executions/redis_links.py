"""Short exchanges with Redis, past redis-py's commands, pipelines and pool.

Those take two to three times as long, at a few exchanges for every run. What is left to
redis-py are the connection itself and reading answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

MOST_LINKS = 100_000


def packed(*words: bytes) -> bytes:
    """Return a command as Redis reads it: how many words, and each with its size.

    See the "Redis serialization protocol specification", arrays of bulk strings.
    """
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


class Links:
    """Idle connections to one Redis; each exchange has one to itself."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Wait `timeout_s` for an answer, and REDIS_CONNECT_TIMEOUT_S to connect."""
        self._pool = redis.ConnectionPool.from_url(
            url,
            socket_connect_timeout=settings.REDIS_CONNECT_TIMEOUT_S,
            socket_timeout=timeout_s,
            socket_keepalive=True,
            # Each thread may need one, and there is a try again below.
            max_connections=MOST_LINKS,
            retry=Retry(NoBackoff(), 0),
        )
        self._idle: list[Any] = []

    def exchange(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands at once and return their answers. Raises RedisError.

        Tries again at once on a link that was kept and is broken: Redis may have been
        started anew meanwhile.
        """
        try:
            link, was_kept = self._idle.pop(), True
        except IndexError:
            link, was_kept = self._pool.make_connection(), False
        try:
            try:
                return _exchanged(link, commands)
            except redis.ConnectionError:
                link.disconnect()
                if not was_kept:
                    raise
                return _exchanged(link, commands)
        except BaseException:
            # There may be answers that nobody has read.
            link.disconnect()
            raise
        finally:
            self._idle.append(link)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().disconnect()


def _exchanged(link: Any, commands: Sequence[bytes]) -> list[Any]:
    link.send_packed_command((b"".join(commands),))
    return [link.read_response() for _ in commands]
