"""The seccomp filter of the jails, and the small assembler that makes it.

Namespaces leave much of the kernel in reach. The filter refuses what ordinary programs
never need (mounting, namespaces, keyrings, BPF, io_uring, tracing, handles...), every
call numbered above the newest one that was looked at, and every other instruction set
(32-bit, x32). What threads and language runtimes use stays allowed; clone3 is answered
with ENOSYS, upon which C libraries fall back to clone, whose flags can be checked.

One filter holds for all in a jail, the agent included. A program shares the agent's
uid, so nobody may act on PID 1 by the calls that only ask for that.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from executions.sandbox.linux import MACHINE

# The newest system call that was looked at (mseal, Linux 6.10); later ones do not exist
# for a jail until somebody has judged them.
NEWEST_REVIEWED: Final = 462

_ALLOW: Final = 0x7FFF0000
_KILL_PROCESS: Final = 0x80000000
_ERRNO: Final = 0x00050000
_DENY: Final = _ERRNO | errno.EPERM
_ABSENT: Final = _ERRNO | errno.ENOSYS
_PRETEND: Final = _ERRNO  # does nothing, and says that it worked
_NO_MEMORY: Final = _ERRNO | errno.ENOMEM
_NO_FAMILY: Final = _ERRNO | errno.EAFNOSUPPORT
_NO_DEVICE: Final = _ERRNO | errno.ENODEV

_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name, number on x86_64, number on arm64 ("-": none); from the kernel's unistd headers.
_TABLE: Final = (
    "acct 163 89",
    "add_key 248 217",
    "adjtimex 159 171",
    "bpf 321 280",
    "chroot 161 51",
    "clock_adjtime 305 266",
    "clock_settime 227 112",
    "clone 56 220",
    "clone3 435 435",
    "create_module 174 -",
    "delete_module 176 106",
    "fanotify_init 300 262",
    "fanotify_mark 301 263",
    "finit_module 313 273",
    "fdatasync 75 83",
    "fsconfig 431 431",
    "fsmount 432 432",
    "fsopen 430 430",
    "fspick 433 433",
    "fsync 74 82",
    "init_module 175 105",
    "inotify_init 253 -",
    "inotify_init1 294 26",
    "io_setup 206 0",
    "io_uring_enter 426 426",
    "io_uring_register 427 427",
    "io_uring_setup 425 425",
    "ioperm 173 -",
    "iopl 172 -",
    "ioprio_set 251 30",
    "kcmp 312 272",
    "kexec_file_load 320 294",
    "kexec_load 246 104",
    "keyctl 250 219",
    "kill 62 129",
    "landlock_add_rule 445 445",
    "landlock_create_ruleset 444 444",
    "landlock_restrict_self 446 446",
    "listmount 458 458",
    "lookup_dcookie 212 18",
    "lsm_get_self_attr 459 459",
    "lsm_list_modules 461 461",
    "lsm_set_self_attr 460 460",
    "memfd_create 319 279",
    "memfd_secret 447 447",
    "migrate_pages 256 238",
    "mmap 9 222",
    "modify_ldt 154 -",
    "mount 165 40",
    "msync 26 227",
    "mount_setattr 442 442",
    "move_mount 429 429",
    "move_pages 279 239",
    "name_to_handle_at 303 264",
    "nfsservctl 180 42",
    "open_by_handle_at 304 265",
    "open_tree 428 428",
    "perf_event_open 298 241",
    "personality 135 92",
    "pidfd_getfd 438 438",
    "pidfd_open 434 434",
    "pivot_root 155 41",
    "prctl 157 167",
    "prlimit64 302 261",
    "process_madvise 440 440",
    "process_mrelease 448 448",
    "process_vm_readv 310 270",
    "process_vm_writev 311 271",
    "ptrace 101 117",
    "quotactl 179 60",
    "quotactl_fd 443 443",
    "reboot 169 142",
    "request_key 249 218",
    "rt_sigqueueinfo 129 138",
    "rt_tgsigqueueinfo 297 240",
    "sched_setaffinity 203 122",
    "sched_setattr 314 274",
    "sched_setparam 142 118",
    "sched_setscheduler 144 119",
    "seccomp 317 277",
    "set_mempolicy_home_node 450 450",
    "setdomainname 171 162",
    "sethostname 170 161",
    "setns 308 268",
    "setpriority 141 140",
    "setrlimit 160 164",
    "setsockopt 54 208",
    "shmget 29 194",
    "settimeofday 164 170",
    "socket 41 198",
    "socketpair 53 199",
    "statmount 457 457",
    "swapoff 168 225",
    "swapon 167 224",
    "sync 162 81",
    "sync_file_range 277 84",
    "syncfs 306 267",
    "sysfs 139 -",
    "syslog 103 116",
    "tgkill 234 131",
    "tkill 200 130",
    "umount2 166 39",
    "unshare 272 97",
    "uselib 134 -",
    "userfaultfd 323 282",
    "ustat 136 -",
    "vhangup 153 58",
)

_COLUMN: Final = {"x86_64": 1, "aarch64": 2}


def numbers(machine: str) -> dict[str, int]:
    """Return the numbers of the calls that this module names, on a machine type."""
    column = _COLUMN[machine]
    rows = (row.split() for row in _TABLE)
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


_DENIED: Final = """
    acct add_key adjtimex bpf chroot clock_adjtime clock_settime create_module
    delete_module fanotify_init fanotify_mark finit_module fsconfig fsmount fsopen
    fspick init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie
    migrate_pages modify_ldt mount mount_setattr move_mount move_pages name_to_handle_at
    open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_madvise
    process_mrelease process_vm_readv process_vm_writev ptrace quotactl quotactl_fd
    reboot request_key seccomp set_mempolicy_home_node setdomainname sethostname setns
    settimeofday swapoff swapon syslog umount2 unshare userfaultfd vhangup
""".split()  # noqa: SIM905

# Programs have something to fall back on when these do not exist. inotify would tell
# when others use the same system files, io_setup uses up a number the host shares.
_MISSING: Final = """
    clone3 inotify_init inotify_init1 io_setup io_uring_enter io_uring_register
    io_uring_setup landlock_add_rule landlock_create_ruleset landlock_restrict_self
    listmount lsm_get_self_attr lsm_list_modules lsm_set_self_attr memfd_secret
    nfsservctl statmount sysfs uselib ustat
""".split()  # noqa: SIM905

# Their first argument is a process that they act on.
_NAMES_A_PROCESS: Final = """
    kill pidfd_open rt_sigqueueinfo rt_tgsigqueueinfo sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler tgkill tkill
""".split()  # noqa: SIM905

# What is writable in a jail is memory: there is nothing to write back. Asked for the
# system's files, the kernel would make the host's disk flush its cache every time.
_WRITES_BACK: Final = "fdatasync fsync sync sync_file_range syncfs".split()  # noqa: SIM905
_MS_SYNC: Final = 4

_NEW_NAMESPACES: Final = 0x7E020000
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_SOCK_STREAM, _SOCK_DGRAM, _SOCK_TYPE_MASK = 1, 2, 0xF
_DEFAULT_PROTOCOL, _TCP, _UDP = 0, 6, 17
# personality() that only asks, resets, or switches off the own address randomisation.
_PERSONALITIES: Final = (0xFFFFFFFF, 0, 0x40000)
_PRIO_PROCESS, _IOPRIO_WHO_PROCESS = 0, 1
_RLIMIT_CORE: Final = 4
_PR_SET_SECCOMP: Final = 22
_MFD_HUGETLB, _SHM_HUGETLB, _MAP_HUGETLB = 0x4, 0x800, 0x40000
_SOL_SOCKET: Final = 1
# SO_ATTACH_FILTER, _BPF, _REUSEPORT_CBPF and _REUSEPORT_EBPF.
_FILTERS_OF_SOCKETS: Final = (26, 50, 51, 52)
_IPPROTO_IP: Final = 0
_IPPROTO_IPV6: Final = 41
# IP_ADD_MEMBERSHIP, IP_ADD_SOURCE_MEMBERSHIP, MCAST_JOIN_GROUP and
# MCAST_JOIN_SOURCE_GROUP: their reports, which nobody would hear, can come after the
# program has ended.
_JOINS_OF_IP: Final = (35, 39, 42, 46)
# IPV6_JOIN_GROUP, IPV6_JOIN_ANYCAST, and the same as above.
_JOINS_OF_IPV6: Final = (20, 27, 42, 46)
# IPV6_FLOWLABEL_MGR: everybody in the network sees them, and they outlive their socket.
_FLOW_LABELS: Final = 32
_AGENT_PID: Final = 1


# ---- a classic BPF assembler ----

_LOAD, _JUMP, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _AND, _RETURN = (
    0x20, 0x05, 0x15, 0x35, 0x45, 0x54, 0x06,
)  # fmt: skip
_FARTHEST_OF_A_TEST: Final = 255
_OFFSET_NUMBER: Final = 0
_OFFSET_ARCH: Final = 4


def _low(argument: int) -> int:
    return 16 + 8 * argument  # both machine types are little-endian


class _Instruction(NamedTuple):
    code: int
    value: int
    if_true: int = 0
    if_false: int = 0


Block = list[_Instruction]
"""Instructions that end with a return on every path."""


def _return(action: int) -> Block:
    return [_Instruction(_RETURN, action)]


def _load(offset: int) -> Block:
    return [_Instruction(_LOAD, offset)]


def _branch(code: int, value: int, yes: Block, no: Block) -> Block:
    """Test the loaded word and go on with one of two blocks."""
    # The two offsets of a test are bytes, that of a plain jump is not. The kernel
    # compiles the filter for each jail: 290 jumps less take a third off that.
    if len(no) <= _FARTHEST_OF_A_TEST:
        return [_Instruction(code, value, len(no), 0), *no, *yes]
    test = _Instruction(code, value, 0, 1)
    return [test, _Instruction(_JUMP, len(no)), *no, *yes]


def _is_one_of(values: Iterable[int], yes: Block, no: Block) -> Block:
    block = no
    for value in values:
        block = _branch(_JUMP_EQ, value, yes, block)
    return block


def _argument_is(
    argument: int, values: Iterable[int], yes: Block, no: Block, *, mask: int = 0
) -> Block:
    """Test the lower half of an argument; what the kernel takes as int has no other."""
    masked = [_Instruction(_AND, mask)] if mask else []
    return [*_load(_low(argument)), *masked, *_is_one_of(values, yes, no)]


def _encode(block: Block) -> bytes:
    return b"".join(
        struct.pack("=HBBI", i.code, i.if_true, i.if_false, i.value) for i in block
    )


def _choose(cases: Sequence[tuple[int, Block]]) -> Block:
    """Find the block for the loaded number by halving; cases start at their number."""
    if len(cases) == 1:
        return cases[0][1]
    middle = len(cases) // 2
    return _branch(
        _JUMP_GE, cases[middle][0], _choose(cases[middle:]), _choose(cases[:middle])
    )


def _without_repeats(cases: Sequence[tuple[int, Block]]) -> list[tuple[int, Block]]:
    """Leave out each case that goes on as the one before it does."""
    first = list(cases[:1])
    return first + [case for before, case in pairwise(cases) if case[1] != before[1]]


def _assemble(machine: str, special: Mapping[int, Block], *, newest: int) -> bytes:
    allow = _return(_ALLOW)
    cases: list[tuple[int, Block]] = [(0, allow)]
    for number in sorted(special):
        if cases[-1][0] == number:
            cases.pop()
        cases += [(number, special[number]), (number + 1, allow)]
    above = _return(_ABSENT)
    cases = [case for case in cases if case[0] <= newest]
    if newest < (1 << 32) - 1:
        cases.append((newest + 1, above))
    by_number = [*_load(_OFFSET_NUMBER), *_choose(_without_repeats(cases))]
    return _encode(
        [
            *_load(_OFFSET_ARCH),
            *_branch(_JUMP_EQ, _AUDIT_ARCH[machine], by_number, _return(_KILL_PROCESS)),
        ]
    )


# ---- the filters ----


def _socket_rule() -> Block:
    """Allow unix and plain TCP and UDP sockets.

    Not netlink: what waits unread in its sockets is counted as nobody's memory, and
    there is nothing to ask of a network that is only a loopback.
    """
    allow, refuse = _return(_ALLOW), _return(_NO_FAMILY)
    protocols = (_DEFAULT_PROTOCOL, _TCP, _UDP)
    plain = _argument_is(
        1,
        (_SOCK_STREAM, _SOCK_DGRAM),
        _argument_is(2, protocols, allow, refuse),
        refuse,
        mask=_SOCK_TYPE_MASK,
    )
    return [
        *_load(_low(0)),
        *_branch(
            _JUMP_EQ,
            _AF_UNIX,
            allow,
            _is_one_of((_AF_INET, _AF_INET6), plain, refuse),
        ),
    ]


def rules() -> dict[str, Block]:
    """Return what holds in a jail, by the call's name; all else is allowed."""
    return {**_kernel_rules(), **_peer_rules()}


def _kernel_rules() -> dict[str, Block]:
    """Close what namespaces leave open of the kernel."""
    allow, deny = _return(_ALLOW), _return(_DENY)
    rules = dict.fromkeys(_DENIED, deny)
    rules |= {name: _return(_ABSENT) for name in _MISSING}
    rules["clone"] = [
        *_load(_low(0)),
        *_branch(_JUMP_SET, _NEW_NAMESPACES, deny, allow),
    ]
    rules["socket"] = _socket_rule()
    rules["socketpair"] = _argument_is(0, (_AF_UNIX,), allow, _return(_NO_FAMILY))
    rules["personality"] = _argument_is(0, _PERSONALITIES, allow, deny)
    return rules


def _reads_only(reads: Block, sets: Block) -> Block:
    """Tell whether prlimit64 gets no new limit: its third argument is a pointer."""
    upper = [*_load(_low(2) + 4), *_branch(_JUMP_EQ, 0, reads, sets)]
    return [*_load(_low(2)), *_branch(_JUMP_EQ, 0, upper, sets)]


def _peer_rules() -> dict[str, Block]:
    """Keep programs off PID 1, whose limits they may but read, and off the host.

    What would reach the host's disk or its handler of core dumps does nothing.
    """
    allow, deny = _return(_ALLOW), _return(_DENY)
    not_agent = _argument_is(0, (_AGENT_PID,), deny, allow)
    rules = dict.fromkeys(_NAMES_A_PROCESS, not_agent)
    who = _argument_is(1, (_AGENT_PID,), deny, allow)
    rules["setpriority"] = _argument_is(0, (_PRIO_PROCESS,), who, deny)
    rules["ioprio_set"] = _argument_is(0, (_IOPRIO_WHO_PROCESS,), who, deny)
    # The limit of 1 keeps dumps of core from the host's handler. Programs that lower
    # it to 0 mean well, and would undo that.
    # Huge pages that the host keeps for others are counted as nobody's memory.
    for name, argument, flag in (
        ("mmap", 3, _MAP_HUGETLB),
        ("memfd_create", 1, _MFD_HUGETLB),
        ("shmget", 2, _SHM_HUGETLB),
    ):
        none = _branch(_JUMP_SET, flag, _return(_NO_MEMORY), allow)
        rules[name] = [*_load(_low(argument)), *none]
    # Compiled filters share an amount of memory with the host's own, and with ours.
    rules["prctl"] = _argument_is(0, (_PR_SET_SECCOMP,), deny, allow)
    rules["setsockopt"] = _socket_options()
    pretend = _return(_PRETEND)
    rules |= dict.fromkeys(_WRITES_BACK, pretend)
    rules["msync"] = [*_load(_low(2)), *_branch(_JUMP_SET, _MS_SYNC, pretend, allow)]
    rules["setrlimit"] = _argument_is(0, (_RLIMIT_CORE,), pretend, allow)
    sets_core = _reads_only(allow, pretend)
    own = _argument_is(1, (_RLIMIT_CORE,), sets_core, allow)
    of_agent = _reads_only(allow, deny)
    rules["prlimit64"] = _argument_is(0, (_AGENT_PID,), of_agent, own)
    return rules


def _socket_options() -> Block:
    """Refuse what socket options leave behind, in the kernel or in the network."""
    allow, deny, nowhere = _return(_ALLOW), _return(_DENY), _return(_NO_DEVICE)
    label = _argument_is(2, (_FLOW_LABELS,), deny, allow)
    of_socket = _argument_is(2, _FILTERS_OF_SOCKETS, deny, allow)
    of_ip = _argument_is(2, _JOINS_OF_IP, nowhere, allow)
    of_ipv6 = _argument_is(2, _JOINS_OF_IPV6, nowhere, label)
    others = _argument_is(1, (_IPPROTO_IPV6,), of_ipv6, allow)
    return _argument_is(
        1, (_SOL_SOCKET,), of_socket, _argument_is(1, (_IPPROTO_IP,), of_ip, others)
    )


def assemble(machine: str, rules: Mapping[str, Block], *, newest: int) -> bytes:
    """Return the encoded filter with these rules for a machine type."""
    known = numbers(machine)
    special = {known[name]: block for name, block in rules.items() if name in known}
    return _assemble(machine, special, newest=newest)


# On other machine types no jail can be made at all (see linux.py).
FILTER: Final = (
    assemble(MACHINE, rules(), newest=NEWEST_REVIEWED) if MACHINE in _COLUMN else b""
)
