"""Short exchanges with Redis, past redis-py's commands, pipelines and pool.

Those take two to three times as long, at a few exchanges for every run. What is left to
redis-py is the connection itself, reading answers, and the one retry after a break.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis


def packed(*words: bytes) -> bytes:
    """Return a command as Redis reads it: how many words, and each with its size.

    See the "Redis serialization protocol specification", arrays of bulk strings.
    """
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


class Links:
    """Idle connections to the Redis of a client; each exchange has one to itself."""

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._idle: list[Any] = []

    def exchange(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands at once and return their answers. Raises RedisError."""
        try:
            link = self._idle.pop()
        except IndexError:
            link = self._pool.make_connection()

        def exchange() -> list[Any]:
            link.send_packed_command((b"".join(commands),))
            return [link.read_response() for _ in commands]

        try:
            answers: list[Any] = link.retry.call_with_retry(
                exchange, lambda _: link.disconnect()
            )
        except BaseException:
            # There may be answers that nobody has read.
            link.disconnect()
            raise
        finally:
            self._idle.append(link)
        return answers

    def close(self) -> None:
        while self._idle:
            self._idle.pop().disconnect()
