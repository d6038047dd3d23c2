"""What sockets hold in the kernel is told, but for what the agent's own hold."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from executions.sandbox.socketmemory import SocketMemory
from testing.servers import wait_until

BLOCK = bytes(60_000)
MUCH = 1 << 20


@pytest.fixture
def sockets() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def filled(stack: contextlib.ExitStack, family: int, host: str) -> tuple[int, int]:
    """Fill a TCP connection that nobody reads; return the sender's port, the bytes."""
    server = stack.enter_context(socket.create_server((host, 0), family=family))
    client = stack.enter_context(socket.create_connection(server.getsockname()[:2]))
    stack.enter_context(server.accept()[0])
    client.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += client.send(BLOCK)
    return client.getsockname()[1], sent


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_unread_bytes_count(
    sockets: contextlib.ExitStack, family: int, host: str
) -> None:
    memory = SocketMemory(without=0, few=0)
    before = memory.read_bytes()
    sent = filled(sockets, family, host)[1]
    # Other programs of this machine may let go of some meanwhile.
    wait_until(
        lambda: memory.read_bytes() - before > sent // 2, "the bytes are counted"
    )


def test_datagrams_count(sockets: contextlib.ExitStack) -> None:
    memory = SocketMemory(without=0, few=0)
    before = memory.read_bytes()
    for _ in range(20):
        receiver, sender = (
            sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for _ in range(2)
        )
        receiver.bind(("127.0.0.1", 0))
        sender.sendto(BLOCK, receiver.getsockname())
    assert memory.read_bytes() - before > 10 * len(BLOCK)


def test_those_of_one_port_do_not_count(sockets: contextlib.ExitStack) -> None:
    port, sent = filled(sockets, socket.AF_INET, "127.0.0.1")
    every = SocketMemory(without=0, few=0).read_bytes()
    others = SocketMemory(without=port, few=0).read_bytes()
    # The receiver's buffer is small at first: most of it waits at the sender.
    assert sent > MUCH
    assert every - others > MUCH // 2


def test_few_sockets_are_not_looked_at(sockets: contextlib.ExitStack) -> None:
    filled(sockets, socket.AF_INET, "127.0.0.1")
    assert SocketMemory(without=0, few=1_000_000).read_bytes() == 0
