"""What TCP and UDP sockets of this network hold in the kernel, which tells it exactly.

With cgroups of version 1 that is nobody's memory unless a limit is set that a container
may not set: a program could fill the node's. Standard library only.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

_NETLINK_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_DONE, _ERROR = 3, 2
_REQUEST_DUMP: Final = 0x301
_ALL_STATES: Final = 0xFFFFFFFF
_MEMORY: Final = 7
# Of a message: its header; of a socket: the port's place, the length before attributes.
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBxI48x")
_PORT: Final = struct.Struct("!H")
_PORT_AT: Final = 4
_SOCKET_BYTES: Final = 72
_ATTRIBUTE: Final = struct.Struct("=HH")
# Received, allowed, sent, allowed, kept for later, queued to be sent, options, waiting.
_WORDS: Final = struct.Struct("=8I")
_RECEIVE_BYTES: Final = 1 << 16
_TIMEOUT_S: Final = 1.0
_COUNTS: Final = ("/proc/self/net/sockstat", "/proc/self/net/sockstat6")


class SocketMemory:
    """Reads what sockets hold, but for those of TCP at the port `without`.

    While there are no more than `few` sockets, it takes next to no time to say that
    they hold nothing. To be made before anything forbids netlink sockets. Raises
    OSError where the kernel cannot tell.
    """

    def __init__(self, *, without: int, few: int) -> None:
        self._without = _PORT.pack(without)
        self._few = few
        self._counts = [
            os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            for path in _COUNTS
            if os.path.exists(path)
        ]
        self._kernel = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG
        )
        self._kernel.settimeout(_TIMEOUT_S)
        self._held(socket.AF_INET, socket.IPPROTO_UDP)

    def read_bytes(self) -> int:
        """Return how much they hold now."""
        if self._count() <= self._few:
            return 0
        return sum(
            self._held(family, protocol)
            for family in (socket.AF_INET, socket.AF_INET6)
            for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
        )

    def _count(self) -> int:
        """Return how many sockets are in use."""
        texts = [os.pread(descriptor, 4096, 0) for descriptor in self._counts]
        lines = [line.split() for line in b"".join(texts).splitlines()]
        return sum(int(words[2]) for words in lines if words[1:2] == [b"inuse"])

    def _held(self, family: int, protocol: int) -> int:
        body = _REQUEST.pack(family, protocol, 1 << (_MEMORY - 1), _ALL_STATES)
        header = _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST_DUMP, 1, 0)
        self._kernel.send(header + body)
        return sum(
            _bytes_of(found)
            for found in self._answers()
            if protocol != socket.IPPROTO_TCP
            or found[_PORT_AT : _PORT_AT + _PORT.size] != self._without
        )

    def _answers(self) -> Iterator[memoryview]:
        while True:
            data = memoryview(self._kernel.recv(_RECEIVE_BYTES))
            while data:
                length, kind, *_ = _HEADER.unpack_from(data)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    raise OSError("the kernel does not tell what sockets hold")
                yield data[_HEADER.size : length]
                data = data[(length + 3) & ~3 :]


def _bytes_of(found: memoryview) -> int:
    rest = found[_SOCKET_BYTES:]
    while rest:
        length, kind = _ATTRIBUTE.unpack_from(rest)
        if kind == _MEMORY:
            words = _WORDS.unpack_from(rest, _ATTRIBUTE.size)
            received, _, sent, _, kept, queued, _, waiting = words
            return int(received + max(sent, queued) + kept + waiting)
        rest = rest[(length + 3) & ~3 :]
    return 0
