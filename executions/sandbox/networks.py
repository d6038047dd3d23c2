"""Networks without a way out, one for each jail.

To make one and to remove it takes the kernel 4 % of what a short run costs. So that of
a jail that has ended serves the next one, if all that a program could see of it is as
when it was new: no socket is left, nothing was ever counted, no route is held. One that
was used is given up. What leaves traces beyond that, such as flow labels and multicast
groups, seccomp.py refuses.

Only as root: what the kernel shows of a network belongs to the root of its owner's user
namespace, and that must not be the program's user.
"""

from __future__ import annotations

import os
from typing import Final

from executions.sandbox import linux

UNSHARE: Final = "unshare network"
MOST_KEPT: Final = 256
_READ_BYTES: Final = 64 * 1024
# All that changes in this namespace without a packet that `dev` would count, and `dev`.
_FILES: Final = (
    "dev",
    "snmp",
    "snmp6",
    "netstat",
    "ipv6_route",
    "rt6_stats",
    "ip6_flowlabel",
)
_FOLDER: Final = "/proc/self/net"


class Networks:
    """The networks of a process that jails are forked from, by their jails' slots.

    The process itself lives in one of its own, and never again in the host's. Needs the
    right to make and to enter network namespaces; one thread. All raise OSError.
    """

    def __init__(self) -> None:
        # Before anything can go wrong: from here on no fork is in the host's network.
        linux.unshare(linux.CLONE_NEWNET, UNSHARE)
        self._home = _open_current()
        self.leave()
        self._known: dict[int, tuple[int, bytes]] = {}

    def leave(self) -> None:
        """Go home."""
        linux.setns(self._home, linux.CLONE_NEWNET)

    def enter(self, slot: int) -> None:
        """Move to a network that nobody is in or ever used; leave() again after that.

        The jail that had this slot before has ended, with all its processes.
        """
        if (known := self._known.get(slot)) is not None:
            network, unused = known
            linux.setns(network, linux.CLONE_NEWNET)
            if _state() == unused:
                return
            self.leave()
            del self._known[slot]
            os.close(network)
        linux.unshare(linux.CLONE_NEWNET, UNSHARE)
        linux.loopback_up()
        state = _state()
        if state is not None and len(self._known) < MOST_KEPT:
            self._known[slot] = (_open_current(), state)


def _open_current() -> int:
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _state() -> bytes | None:
    """Return what tells a used network from a new one; None where that is not told."""
    try:
        # Of the sockets only the first line: the others count all namespaces'.
        sockets = _read("sockstat").partition(b"\n")[0]
        return b"\0".join([sockets, *map(_read, _FILES)])
    except OSError:
        return None


def _read(name: str) -> bytes:
    try:
        descriptor = os.open(f"{_FOLDER}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""  # a kernel without IPv6 has no use for it
    try:
        text = b""
        # Not more than a page comes at once where there are many records.
        while data := os.read(descriptor, _READ_BYTES):
            text += data
        return text
    finally:
        os.close(descriptor)
