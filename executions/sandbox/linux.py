"""System calls that Python 3.11 does not offer, with real OSErrors.

Only what jails need, on x86_64 and arm64. Calls go through ctypes with the GIL kept:
fork server and zygote have one thread, and clone() must not let another one in between.
"""

from __future__ import annotations

import array
import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Iterable
from typing import Any, Final

_INT_BYTES: Final = array.array("i").itemsize
_libc = ctypes.PyDLL(None, use_errno=True)


def _function(name: str, *arguments: Any) -> Any:
    """Return a C function that takes `arguments`, an object of its own each time."""
    function = _libc[name]
    function.argtypes = arguments
    function.restype = ctypes.c_long if name == "syscall" else ctypes.c_int
    return function


_int, _unsigned = ctypes.c_int, ctypes.c_uint
_long, _unsigned_long = ctypes.c_long, ctypes.c_ulong
_text, _pointer = ctypes.c_char_p, ctypes.c_void_p
# Made here, with their types: what ctypes looks up or makes for a first time in a jail
# takes each of them 5 to 10 page faults.
_c_ioctl = _function("ioctl", _int, _unsigned_long, _pointer)
_c_mount = _function("mount", _text, _text, _text, _unsigned_long, _text)
_c_prctl = _function("prctl", _int, *[_unsigned_long] * 4)
_c_setns = _function("setns", _int, _int)
_c_sethostname = _function("sethostname", _text, ctypes.c_size_t)
_c_signal = _function("signal", _int, _pointer)
_c_socket = _function("socket", _int, _int, _int)
_c_umount2 = _function("umount2", _text, _int)
_c_unshare = _function("unshare", _int)
_s_capset = _function("syscall", _long, _pointer, _pointer)
_s_clone = _function("syscall", _long, _unsigned_long, *[_pointer] * 4)
_s_close_range = _function("syscall", _long, *[_unsigned] * 3)
_s_fsconfig = _function("syscall", _long, _int, _unsigned, _text, _text, _int)
_s_fsmount = _function("syscall", _long, _int, _unsigned, _unsigned)
_s_fsopen = _function("syscall", _long, _text, _unsigned)
_s_move_mount = _function("syscall", _long, _int, _text, _int, _text, _unsigned)
_s_pivot_root = _function("syscall", _long, _text, _text)
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_in_child = ctypes.pythonapi.PyOS_AfterFork_Child
_after_fork_in_parent = ctypes.pythonapi.PyOS_AfterFork_Parent

MACHINE: Final = platform.machine()

# The numbers from 424 on are the same on every architecture.
_NUMBERS: Final[dict[str, dict[str, int]]] = {
    "x86_64": {"clone": 56, "capset": 126, "pivot_root": 155},
    "aarch64": {"clone": 220, "capset": 91, "pivot_root": 41},
}
_NUMBER: Final = _NUMBERS.get(MACHINE, {})
_MOVE_MOUNT: Final = 429
_FSOPEN: Final = 430
_FSCONFIG: Final = 431
_FSMOUNT: Final = 432
_CLOSE_RANGE: Final = 436

CLONE_PARENT: Final = 0x8000
CLONE_NEWNS: Final = 0x20000
CLONE_NEWCGROUP: Final = 0x2000000
CLONE_NEWUTS: Final = 0x4000000
CLONE_NEWIPC: Final = 0x8000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
_SIGCHLD: Final = 17

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_NOATIME: Final = 1024
MS_NODIRATIME: Final = 2048
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_RELATIME: Final = 1 << 21
MNT_DETACH: Final = 2

_FSOPEN_CLOEXEC: Final = 1
_FSMOUNT_CLOEXEC: Final = 1
_FSCONFIG_SET_STRING: Final = 1
_FSCONFIG_CMD_CREATE: Final = 6
_FSCONFIG_CMD_RECONFIGURE: Final = 7
_MOUNT_ATTR_NOSUID: Final = 2
_MOUNT_ATTR_NODEV: Final = 4
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_AT_FDCWD: Final = -100

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_SECCOMP_MODE_FILTER: Final = 2
_CAPABILITY_VERSION_3: Final = 0x20080522

# Made once: ctypes makes a type for each size, which costs every jail 0.2 ms.
_OWN_CAPABILITIES: Final = ctypes.create_string_buffer(
    struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
)
_NONE: Final = ctypes.create_string_buffer(24)

_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_LOOPBACK_UP: Final = ctypes.create_string_buffer(
    struct.pack("16sH", b"lo", _IFF_UP),
    40,  # a whole struct ifreq
)
# As plain numbers: what is an enum's passes through Python code.
_AF_INET: Final = int(socket.AF_INET)
_SOCK_DGRAM: Final = int(socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


def _fail(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), what)


def _check(result: int, what: str) -> int:
    if result < 0:
        raise _fail(what)
    return result


def _number(name: str) -> int:
    if name not in _NUMBER:
        raise OSError(errno.ENOSYS, f"jails do not know this machine type: {MACHINE}")
    return _NUMBER[name]


def clone(flags: int) -> int:
    """Fork with new namespaces; return the pid, or 0 in the child.

    The child may use Python like after os.fork(). With CLONE_PARENT it is a sibling.
    """
    number = _number("clone")
    _before_fork()
    pid = _s_clone(number, flags | _SIGCHLD, None, None, None, None)
    if pid == 0:
        _after_fork_in_child()
        return 0
    error = _fail("clone") if pid < 0 else None
    _after_fork_in_parent()
    if error is not None:
        raise error
    return int(pid)


def unshare(flags: int, what: str = "unshare") -> None:
    """Leave namespaces for new ones; an OSError has `what` as its file name."""
    _check(_c_unshare(flags), what)


def setns(fd: int, kind: int) -> None:
    _check(_c_setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    result = _c_mount(
        source.encode(),
        target.encode(),
        kind.encode(),
        flags,
        data.encode() or None,
    )
    if result < 0:
        raise _fail(f"mount {target}")


def bind(source: str, target: str, flags: int = 0) -> None:
    """Show `source` at `target` too; `flags` (MS_RDONLY, MS_NOSUID...) are added.

    Mount flags that are locked in a user namespace stay as they are.
    """
    mount(source, target, "", MS_BIND)
    if flags:
        mount("", target, "", MS_REMOUNT | MS_BIND | flags | kept_flags(target))


def bind_tree(source: str, target: str, flags: int) -> None:
    """Show `source` with all that is mounted below it at `target`, all with `flags`."""
    mount(source, target, "", MS_BIND | MS_REC)
    top = os.path.realpath(target)
    for point in _mount_points():
        if point == top or point.startswith(f"{top}/"):
            mount("", point, "", MS_REMOUNT | MS_BIND | flags | kept_flags(point))


def _mount_points() -> list[str]:
    with open("/proc/self/mountinfo", "rb") as table:
        escaped = [line.split()[4] for line in table]
    # Spaces and the like are written as three octal digits.
    return [
        os.fsdecode(point.decode("unicode_escape").encode("latin-1"))
        for point in escaped
    ]


def kept_flags(target: str) -> int:
    present = os.statvfs(target).f_flag
    kept = present & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    # statvfs numbers these differently from mount().
    for statvfs_flag, mount_flag in (
        (1024, MS_NOATIME),
        (2048, MS_NODIRATIME),
        (4096, MS_RELATIME),
    ):
        if present & statvfs_flag:
            kept |= mount_flag
    return kept


def unmount(target: str, flags: int = MNT_DETACH) -> None:
    _check(_c_umount2(target.encode(), flags), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    number = _number("pivot_root")
    _check(_s_pivot_root(number, new.encode(), old.encode()), "pivot_root")


def _fsconfig(fd: int, command: int, key: str | None, value: str | None) -> None:
    result = _s_fsconfig(
        _FSCONFIG,
        fd,
        command,
        key.encode() if key is not None else None,
        value.encode() if value is not None else None,
        0,
    )
    if result < 0:
        raise _fail(f"fsconfig {key or command}")


def new_tmpfs(**options: str) -> tuple[int, int]:
    """Return (file system fd, mount fd) of a tmpfs that is mounted nowhere yet.

    The first one serves to change the options later, whatever becomes of the mount.
    """
    fd = _check(_s_fsopen(_FSOPEN, b"tmpfs", _FSOPEN_CLOEXEC), "fsopen tmpfs")
    try:
        for key, value in options.items():
            _fsconfig(fd, _FSCONFIG_SET_STRING, key, value)
        _fsconfig(fd, _FSCONFIG_CMD_CREATE, None, None)
        attributes = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV
        mounted = _check(
            _s_fsmount(_FSMOUNT, fd, _FSMOUNT_CLOEXEC, attributes), "fsmount tmpfs"
        )
    except OSError:
        os.close(fd)
        raise
    return fd, mounted


def resize_tmpfs(fd: int, **options: str) -> None:
    """Change size or nr_inodes of a tmpfs by its file system fd."""
    for key, value in options.items():
        _fsconfig(fd, _FSCONFIG_SET_STRING, key, value)
    _fsconfig(fd, _FSCONFIG_CMD_RECONFIGURE, None, None)


def attach_mount(fd: int, target: str) -> None:
    """Mount what `fd` (from new_tmpfs) holds at `target`."""
    result = _s_move_mount(
        _MOVE_MOUNT, fd, b"", _AT_FDCWD, target.encode(), _MOVE_MOUNT_F_EMPTY_PATH
    )
    if result < 0:
        raise _fail(f"move_mount {target}")


def prctl(option: int, argument: int = 0, second: int = 0) -> int:
    result: int = _c_prctl(option, argument, second, 0, 0)
    if result < 0:
        raise _fail(f"prctl {option}")
    return result


def default_signal(number: int) -> None:
    """Let a signal do what it does by default, past Python's slower way."""
    _c_signal(number, None)


def die_with_parent(signal_number: int) -> None:
    """Be killed when the parent thread ends; undone by any change of uid."""
    prctl(_PR_SET_PDEATHSIG, signal_number)


def set_dumpable(dumpable: bool) -> None:
    prctl(_PR_SET_DUMPABLE, int(dumpable))


def set_command_line(text: str) -> None:
    """Replace what /proc tells of this process's arguments, as far as there is room."""
    with open("/proc/self/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    begin, end = int(fields[45]), int(fields[46])  # arg_start, arg_end of proc(5)
    if begin:
        ctypes.memset(begin, 0, end - begin)
        ctypes.memmove(begin, text.encode(), min(len(text.encode()), end - begin - 1))


def no_new_privileges() -> None:
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_bounding_set() -> None:
    """Make every capability unreachable, for good. Needs CAP_SETPCAP."""
    capability = 0
    while True:
        try:
            prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:  # past the last one this kernel knows
                return
            raise
        capability += 1


def drop_capabilities() -> None:
    """Empty the effective, permitted, inheritable and ambient sets."""
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    result = _s_capset(_number("capset"), _OWN_CAPABILITIES, _NONE)
    _check(result, "capset")


class _SockFprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


class Filter:
    """A seccomp filter, made of encoded classic BPF instructions."""

    def __init__(self, program: bytes) -> None:
        self._described = _SockFprog(len(program) // 8, program)
        self._address = ctypes.addressof(self._described)

    def install(self) -> None:
        result = _c_prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self._address, 0, 0)
        _check(result, "seccomp")


def close_range(first: int, last: int) -> None:
    """Close the descriptors from `first` to `last`, both included."""
    if _s_close_range(_CLOSE_RANGE, first, last, 0) < 0:
        error = _fail("close_range")
        if error.errno != errno.ENOSYS:
            raise error
        os.closerange(first, min(last, 1 << 20) + 1)  # Linux before 5.9


def gaps_between(kept: Iterable[int]) -> list[tuple[int, int]]:
    """Return the ranges of all descriptors that are not in `kept`."""
    gaps = []
    first = 0
    for fd in sorted(set(kept)):
        if fd > first:
            gaps.append((first, fd - 1))
        first = fd + 1
    return [*gaps, (first, (1 << 32) - 1)]


def close_ranges(ranges: Iterable[tuple[int, int]]) -> None:
    for first, last in ranges:
        close_range(first, last)


def receive_fds(
    connection: socket.socket, size: int, most: int, flags: int = 0
) -> tuple[bytes, list[int]]:
    """Receive a message with up to `most` descriptors, which no program inherits.

    As socket.recv_fds(), which drops that flag.
    """
    room = socket.CMSG_SPACE(most * _INT_BYTES)
    flags |= socket.MSG_CMSG_CLOEXEC
    words, ancillary, _, _ = connection.recvmsg(size, room, flags)
    descriptors = array.array("i")
    for _, _, data in ancillary:
        descriptors.frombytes(data)
    return words, list(descriptors)


def set_hostname(name: bytes) -> None:
    _check(_c_sethostname(name, len(name)), "sethostname")


def loopback_up() -> None:
    """Bring up the loopback device of this network namespace, which is new."""
    # Not by the modules fcntl and socket: 15 pages that a jail needs for nothing else.
    control = _check(_c_socket(_AF_INET, _SOCK_DGRAM, 0), "socket")
    try:
        # Of the flags that can be set, a new one has none.
        _check(_c_ioctl(control, _SIOCSIFFLAGS, _LOOPBACK_UP), "loopback")
    finally:
        os.close(control)
