"""What must come of a suite's program in a pod where that is not what a jail makes.

All else is as the tables of the suites say: a pod confines by other means, and what it
shows of itself and of the kernel is what its container runtime shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from executions.sandbox.manifests import DEFAULT_PROFILES
from executions.tests.suites import checks
from executions.tests.suites.program import MIB, Observed, Program

SMALL, LARGE = DEFAULT_PROFILES

# Mounted without "ro". That nothing of it can be written but the pod's volume and its
# message queues is what S1-create-everywhere and S8-overwrite-runtime show.
NOT_READ_ONLY: Final = frozenset(
    (
        *("/scratch", "/dev/shm"),  # noqa: S108 - one volume
        *("/proc", "/dev", "/dev/pts", "/dev/mqueue", "/sys/fs/cgroup", "/etc/hosts"),
        *("/proc/interrupts", "/proc/keys", "/proc/timer_list"),  # from /dev/null
        *("/proc/kcore", "/proc/sched_debug", "/proc/latency_stats"),
        "/opt/closed/message",
    )
)


@dataclass(frozen=True, slots=True)
class Different:
    """The fields of a Program that are others in a pod, and why they may be."""

    why: str
    fields: Mapping[str, Any]


def mounts_known(seen: Observed) -> str | None:
    """Every mount is read-only but for these, and the container's own root is, too."""
    text = seen.stdout.decode(errors="replace")
    mounts = re.findall(r"^mount (\S+) (\S+)$", text, re.MULTILINE)
    if not mounts:
        return "no mounts seen"
    odd = {point for point, flags in mounts if "ro" not in flags.split(",")}
    return f"writable: {odd - NOT_READ_ONLY}" if odd - NOT_READ_ONLY else None


def says_scratch_is_larger(seen: Observed) -> str | None:
    told = seen.raw.get("unenforced_limits")
    return None if told == ["scratch_bytes"] else f"unenforced: {told}"


def _sampled() -> Different:
    return Different(
        "the agent looks every 50 ms: what is allocated meanwhile comes on top, up to "
        "the pod's own limit, which the kernel holds",
        {"checks": (checks.memory_at_most(LARGE.memory_bytes),)},
    )


_OWN_NAMES: Final = (
    "the names of users are the pod's own copy, as its user has a number of its own; "
    "nothing in a pod goes by them, and no file in it sets a user id"
)

DIFFERENT: Mapping[str, Different] = {
    "S1-create-everywhere": Different(
        "the private folders are in one volume, as private as they are; queues are "
        "the pod's own, in its IPC namespace",
        {"lets": (r"creating (/scratch|/scratch/shm|/dev/mqueue)/suite-\w+",)},
    ),
    "S1-open-system-files": Different(
        _OWN_NAMES, {"lets": (r"opening for writing /etc/(passwd|group)",)}
    ),
    "S1-write-sh": Different(
        _OWN_NAMES, {"lets": (r">> /etc/passwd", r"chmod a\+w /etc/passwd")}
    ),
    "S2-read-bait": Different(
        "container runtimes show /sys, read-only; the packages are the image's",
        {
            "lets": (
                r"reading /sys/kernel/(notes|vmcoreinfo|btf/vmlinux) .*",
                r"listing /var/lib/dpkg/\* .*",
            )
        },
    ),
    "S2-proc-leaks": Different(
        "container runtimes show these files of /proc, and a pod its own cgroup; the "
        "agent's command is the image's",
        {
            "lets": (
                r"/proc/(key-users|config\.gz|locks) .*",
                r"seeing a host path: /kubepods\S*/pod[-\w]+/\w+ /sys/fs/cgroup/\w+",
                r"seeing where the platform lives: b\"python3.*'/opt/agent'.*",
            )
        },
    ),
    "S6-fill-disk-c": Different(
        "a volume has its profile's size, and the outcome says that it is larger",
        {
            "lets": (r"writing \d+ MiB",),
            "checks": (
                says_scratch_is_larger,
                checks.memory_at_most(LARGE.scratch_bytes + 64 * MIB),
            ),
        },
    ),
    "S6-fill-inodes": Different(
        "a volume has no limit of its own for the number of files: each takes kernel "
        "memory, which counts",
        {"verdicts": ("memory_limit",), "has": ()},
    ),
    "S7-posture": Different(
        "no_new_privs makes set-user-id bits void and there is no capability to make a "
        "device, whatever the mounts allow; what is writable is known",
        {"checks": (checks.unprivileged, mounts_known, checks.few_descriptors)},
    ),
    "S8-overwrite-runtime": Different(
        "container runtimes give a pod terminals and message queues of its own",
        {
            "lets": (
                r"opening for writing /dev/ptmx .*",
                r"seeing devices \['mqueue', 'ptmx', 'pts'\]",
            )
        },
    ),
    "S12-reach-agent": Different(
        "the agent listens where the worker can connect; without the token it tells "
        "nothing and takes nothing",
        {"lets": (r"reaching port 8088",)},
    ),
    **{
        f"S15-{kind}": _sampled()
        for kind in (
            *("heap", "bss", "shared", "locked", "memfd", "sysv", "children"),
            *("small-maps", "page-tables"),
        )
    },
    "S26-network": Different(
        "a pod has an interface; the network policy lets nothing out, so that nothing "
        "was reached all the same",
        {
            "lets": (
                r"interface eth0",
                r"routes \['eth0\\t.*",
                r"an IPv6 route .* eth0",
            )
        },
    ),
}


def expected(programs: Iterable[Program]) -> list[Program]:
    """Return the programs with what is expected of them in pods."""
    return [
        replace(each, **DIFFERENT[each.id].fields) if each.id in DIFFERENT else each
        for each in programs
    ]
