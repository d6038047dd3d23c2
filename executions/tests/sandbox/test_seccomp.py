"""The filters, run by an interpreter of the same classic BPF that the kernel runs."""

from __future__ import annotations

import errno
import struct

import pytest

from executions.sandbox import seccomp
from executions.sandbox.seccomp import NEWEST_REVIEWED, numbers

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386 = 0x40000003
ALLOWED = 0x7FFF0000
KILLED = 0x80000000
NO_LIMIT = (1 << 32) - 1


def refused(number: int) -> int:
    return 0x00050000 | number


def decide(program: bytes, machine: str, call: int, *arguments: int) -> int:
    """Return what a filter answers to a call on a machine type."""
    return interpret(program, call, ARCHITECTURES[machine], arguments)


def interpret(
    program: bytes, call: int, architecture: int, arguments: tuple[int, ...]
) -> int:
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", call, architecture, 0, *padded)
    word = 0
    position = 0
    while True:
        code, yes, no, value = struct.unpack_from("=HBBI", program, position * 8)
        position += 1
        if code == 0x20:  # load a word
            (word,) = struct.unpack_from("=I", data, value)
        elif code == 0x05:  # jump
            position += value
        elif code == 0x54:  # and
            word &= value
        elif code == 0x06:  # return
            return int(value)
        else:
            tests = {0x15: word == value, 0x35: word >= value, 0x45: word & value}
            position += yes if tests[code] else no


def whole_filter(machine: str) -> bytes:
    return seccomp.assemble(machine, seccomp.rules(), newest=NEWEST_REVIEWED)


DENIED = """
    mount umount2 pivot_root chroot unshare setns bpf init_module finit_module ptrace
    process_vm_readv open_by_handle_at keyctl add_key request_key userfaultfd
    perf_event_open fsopen fsmount move_mount open_tree mount_setattr syslog reboot
    swapon kexec_load settimeofday clock_settime pidfd_getfd quotactl acct
""".split()  # noqa: SIM905

machines = pytest.mark.parametrize("machine", sorted(ARCHITECTURES))


@machines
@pytest.mark.parametrize("name", DENIED)
def test_filter_denies_what_no_program_needs(machine: str, name: str) -> None:
    call = numbers(machine)[name]
    assert decide(whole_filter(machine), machine, call) == refused(errno.EPERM)


@machines
@pytest.mark.parametrize(
    "name", ["clone3", "io_uring_setup", "io_uring_enter", "memfd_secret"]
)
def test_filter_hides_what_has_a_substitute(machine: str, name: str) -> None:
    call = numbers(machine)[name]
    assert decide(whole_filter(machine), machine, call) == refused(errno.ENOSYS)


@pytest.mark.parametrize(
    ("machine", "call"),
    # read, execve, futex, mmap, openat, statx, rseq, close_range
    [("x86_64", call) for call in (0, 59, 202, 9, 257, 332, 334, 436)]
    + [("aarch64", call) for call in (63, 221, 98, 222, 56, 291, 293, 436)],
)
def test_filter_allows_what_programs_need(machine: str, call: int) -> None:
    assert decide(whole_filter(machine), machine, call) == ALLOWED


@machines
@pytest.mark.parametrize("call", [NEWEST_REVIEWED + 1, 512, 9999, 0x40000000 | 39])
def test_filter_hides_calls_that_nobody_reviewed(machine: str, call: int) -> None:
    assert decide(whole_filter(machine), machine, call) == refused(errno.ENOSYS)


@machines
def test_filter_kills_on_another_instruction_set(machine: str) -> None:
    assert interpret(whole_filter(machine), 1, I386, ()) == KILLED


@machines
@pytest.mark.parametrize(
    "flag",
    [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000],
)
def test_filter_denies_clone_with_a_namespace(machine: str, flag: int) -> None:
    clone = numbers(machine)["clone"]
    program = whole_filter(machine)
    thread = 0x3D0F00
    assert decide(program, machine, clone, flag | 17) == refused(errno.EPERM)
    assert decide(program, machine, clone, flag | thread) == refused(errno.EPERM)
    assert decide(program, machine, clone, thread) == ALLOWED
    assert decide(program, machine, clone, 0x1200011) == ALLOWED


@machines
@pytest.mark.parametrize(
    ("level", "option", "answer"),
    [
        (1, 26, errno.EPERM),  # a filter
        (1, 2, None),  # SO_REUSEADDR
        (0, 35, errno.ENODEV),  # a group
        (0, 1, None),  # IP_TOS
        (41, 20, errno.ENODEV),
        (41, 26, None),  # IPV6_V6ONLY
        (41, 32, errno.EPERM),  # flow labels
        (0, 32, None),  # IP_MULTICAST_IF
        (6, 35, None),  # of TCP
    ],
)
def test_filter_refuses_socket_options_that_stay(
    machine: str, level: int, option: int, answer: int | None
) -> None:
    call = numbers(machine)["setsockopt"]
    expected = ALLOWED if answer is None else refused(answer)
    assert decide(whole_filter(machine), machine, call, 3, level, option) == expected


@machines
@pytest.mark.parametrize(
    ("family", "kind", "protocol", "is_allowed"),
    [
        (1, 1, 0, True),  # unix
        (1, 5, 0, True),
        (2, 1, 0, True),  # inet
        (2, 0x80801, 6, True),  # with SOCK_CLOEXEC | SOCK_NONBLOCK
        (10, 2, 17, True),
        (2, 3, 0, False),  # raw
        (2, 2, 1, False),  # ping
        (2, 5, 132, False),  # SCTP
        (2, 1, 262, False),  # MPTCP
        (16, 3, 0, False),  # netlink, routes
        (16, 3, 12, False),  # netfilter
        (17, 3, 0, False),  # packets
        (38, 5, 0, False),  # AF_ALG
        (40, 1, 0, False),  # AF_VSOCK
    ],
)
def test_filter_allows_plain_sockets_only(
    machine: str, family: int, kind: int, protocol: int, is_allowed: bool
) -> None:
    answer = decide(
        whole_filter(machine),
        machine,
        numbers(machine)["socket"],
        family,
        kind,
        protocol,
    )
    assert answer == (ALLOWED if is_allowed else refused(errno.EAFNOSUPPORT))


@machines
@pytest.mark.parametrize(
    "name", ["kill", "tgkill", "tkill", "sched_setaffinity", "pidfd_open"]
)
def test_filter_keeps_off_the_agent(machine: str, name: str) -> None:
    call = numbers(machine)[name]
    program = whole_filter(machine)
    assert decide(program, machine, call, 1) == refused(errno.EPERM)
    assert decide(program, machine, call, 2) == ALLOWED
    assert decide(program, machine, call, 0) == ALLOWED


@machines
def test_filter_lets_limits_of_the_agent_be_read_only(machine: str) -> None:
    call = numbers(machine)["prlimit64"]
    program = whole_filter(machine)
    pointer = 0x7FFF_0000_0000
    assert decide(program, machine, call, 0, 7, pointer) == ALLOWED
    assert decide(program, machine, call, 5, 7, pointer) == ALLOWED
    assert decide(program, machine, call, 1, 7, 0, pointer) == ALLOWED
    assert decide(program, machine, call, 1, 7, pointer) == refused(errno.EPERM)
    assert decide(program, machine, call, 1, 7, 0x1000) == refused(errno.EPERM)


@machines
def test_filter_lets_only_own_priority_be_set(machine: str) -> None:
    call = numbers(machine)["setpriority"]
    program = whole_filter(machine)
    assert decide(program, machine, call, 0, 0, 5) == ALLOWED
    assert decide(program, machine, call, 0, 1, 5) == refused(errno.EPERM)
    assert decide(program, machine, call, 2, 0, 5) == refused(errno.EPERM)
