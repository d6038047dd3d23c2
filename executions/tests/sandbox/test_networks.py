"""Networks of jails that have ended serve later ones, if nobody can tell."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executions.sandbox.jails import Config, JailBackend
from executions.tests.sandbox.conftest import finish, spec

pytestmark = pytest.mark.jail

# What a program can see of its network, less what the kernel counts for all of them.
LOOK = """
import json, os, re
seen = {"network": os.stat("/proc/self/ns/net").st_ino}
for name in sorted(os.listdir("/proc/net")):
    try:
        text = open(f"/proc/net/{name}").read()
    except OSError:
        continue
    if name == "sockstat":
        text = text.partition("\\n")[0]
    if name in ("unix", "netlink"):
        text = len(text.splitlines())
    if name not in ("softnet_stat", "ptype", "protocols"):
        seen[name] = text
print(json.dumps(seen))
"""
TRACES = {
    "tcp": """
import socket
server = socket.create_server(("127.0.0.1", 4000))
client = socket.create_connection(("127.0.0.1", 4000))
server.accept()[0].close()
client.close()
""",
    "tcp6": """
import socket
try:
    server = socket.create_server(("::1", 4000), family=socket.AF_INET6)
    socket.create_connection(("::1", 4000)).close()
except OSError:
    pass  # a kernel without IPv6
""",
    "refused": """
import socket
try:
    socket.create_connection(("127.0.0.1", 4001))
except ConnectionRefusedError:
    pass
""",
    "unreachable": """
import socket
try:
    socket.create_connection(("192.0.2.1", 80))
except OSError:
    pass
""",
    "udp": """
import socket
socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 4000))
""",
    "unreachable6": """
import socket
try:
    socket.create_connection(("2001:db8::1", 80))
except OSError:
    pass
""",
    "route": """
import socket
try:
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).connect(("::1", 4000))
except OSError:
    pass
""",
    "name": """
import socket
socket.getaddrinfo("localhost", 80)
""",
    "flow label": """
import socket, struct
# IPV6_FLOWLABEL_MGR: get or create, for everybody, kept for a minute after its end.
wanted = struct.pack(
    "16sIBBHHHI", socket.inet_pton(socket.AF_INET6, "2001:db8::7"),
    socket.htonl(0x54321), 0, 255, 1, 60, 60, 0)
try:
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).setsockopt(41, 32, wanted)
except OSError:
    pass
""",
    "group": """
import socket, struct
member = socket.socket(type=socket.SOCK_DGRAM)
group = socket.inet_aton("224.1.1.1") + socket.inet_aton("127.0.0.1")
try:
    member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
except OSError:
    pass
group6 = socket.inet_pton(socket.AF_INET6, "ff01::7") + struct.pack("I", 1)
try:
    member6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    member6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group6)
except OSError:
    pass
""",
    # It is in flight in itself, and lives until the kernel looks for such.
    "in flight": """
import socket
one, other = socket.socketpair()
socket.send_fds(one, [b"x"], [one.fileno(), other.fileno()])
named = socket.socket(socket.AF_UNIX)
named.bind("\\0name")
named.listen()
socket.send_fds(other, [b"x"], [named.fileno(), one.fileno()])
""",
}


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[JailBackend]:
    """Return one that has room for a single jail, and so for a single network."""
    made = JailBackend(tmp_path / "state", Config(max_jails=1, warm={}, linger_s=5.0))
    yield made
    made.close()


def run(backend: JailBackend, code: str) -> bytes:
    outcome, _ = finish(backend.start(spec(code)))
    case = outcome.cases[0]
    assert (case.exit_code, case.stderr.head) == (0, b"")
    return case.stdout.head


def look(backend: JailBackend) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(run(backend, LOOK))
    return seen


def test_unused_network_serves_again(backend: JailBackend) -> None:
    first, later = look(backend), look(backend)
    if os.geteuid() != 0:
        # There every jail has one of its own user namespace.
        del first["network"], later["network"]
    assert later == first


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES.keys())
def test_nothing_is_seen_of_an_earlier_program(
    backend: JailBackend, trace: str
) -> None:
    first = look(backend)
    run(backend, trace)
    later = look(backend)
    if later["network"] != first["network"]:
        del later["network"], first["network"]
    assert later == first


@pytest.mark.parametrize("name", ["tcp", "refused", "udp", "unreachable6"])
def test_used_network_is_given_up(backend: JailBackend, name: str) -> None:
    if os.geteuid() != 0:
        return  # none is ever used again then
    first = look(backend)["network"]
    run(backend, TRACES[name])
    assert look(backend)["network"] != first


def test_every_jail_at_a_time_has_a_network_of_its_own(tmp_path: Path) -> None:
    backend = JailBackend(tmp_path / "state", Config(max_jails=4, linger_s=5.0))
    code = "import os; print(os.stat('/proc/self/ns/net').st_ino); input()"
    try:
        host = Path("/proc/self/ns/net").stat().st_ino
        sessions = [backend.start(spec(code, interactive=True)) for _ in range(4)]
        for session in sessions:
            session.send_stdin(b"\n")
        outcomes = [finish(session)[0] for session in sessions]
        found = {int(outcome.cases[0].stdout.head) for outcome in outcomes}
        assert len(found | {host}) == 5
    finally:
        backend.close()
