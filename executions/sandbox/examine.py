"""What this machine offers to jails: `python -m executions.sandbox.examine PART`.

Prints one JSON object. Each part is tried for real, in this process, which is of no use
for anything else afterwards: so every part gets a process of its own.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from executions.sandbox import cgroups, linux, seccomp

_PRIVATE: Final = {
    "mount": linux.CLONE_NEWNS,
    "pid": linux.CLONE_NEWPID,
    "ipc": linux.CLONE_NEWIPC,
    "uts": linux.CLONE_NEWUTS,
    "network": linux.CLONE_NEWNET,
    "cgroup": linux.CLONE_NEWCGROUP,
}
# What keeps users other than root from making namespaces, by the switch that does.
_SWITCHES: Final = {
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
    "user.max_user_namespaces": ("0", "10000"),
}
_IN_CONTAINER: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found of one part; `problem` is "" when jails can be made with it."""

    found: str = ""
    problem: str = ""
    remedy: str = ""


def namespaces() -> Examined:
    """Try whether this user may make the namespaces of a jail, and mount in them."""
    kinds = dict(_PRIVATE)
    try:
        if os.geteuid() != 0:
            linux.unshare(linux.CLONE_NEWUSER)
        for kind, flag in kinds.items():
            try:
                linux.unshare(flag)
            except OSError as error:
                return _no_namespaces(f"no {kind} namespace: {error.strerror}")
        linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
        linux.mount("tmpfs", "/", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV)
    except OSError as error:
        return _no_namespaces(f"{error.filename or 'user namespace'}: {error.strerror}")
    user = "as root" if os.geteuid() == 0 else "without root"
    return Examined(f"{', '.join(kinds)}; {user}")


def _no_namespaces(problem: str) -> Examined:
    for switch, (off, on) in _SWITCHES.items():
        path = Path("/proc/sys", *switch.split("."))
        if path.exists() and path.read_text().strip() == off:
            return Examined(problem=problem, remedy=f"as root: sysctl -w {switch}={on}")
    if any(path.exists() for path in _IN_CONTAINER):
        return Examined(
            problem=problem,
            remedy="start this container with --privileged, or run outside of one",
        )
    return Examined(problem=problem, remedy="run as root, or on Linux 5.2 or newer")


def control_groups(configured: str = "") -> Examined:
    """Make a cgroup, limit it and remove it, as the fork server does."""
    name = f"{cgroups.PREFIX}examine.{os.getpid()}"
    try:
        groups = cgroups.find(name, configured)
    except cgroups.CgroupsUnusable as error:
        return Examined(problem=str(error))  # which says what would help
    try:
        stage = groups.create("stage")
        try:
            stage.limit(memory_bytes=64 << 20, max_processes=8)
        finally:
            stage.close()
            groups.remove("stage")
    except OSError as error:
        return Examined(problem=f"a cgroup cannot be used: {error}")
    finally:
        groups.remove_all()
    counted = [name for name in ("memory", "pids", "cpu") if groups.has(name)]
    swap = "" if groups.version == 2 or groups.counts_swap else "; swap is not counted"  # noqa: PLR2004
    return Examined(f"version {groups.version}: {', '.join(counted)}{swap}")


def system_call_filter() -> Examined:
    """Install the filter that programs get, and see that it refuses something."""
    try:
        linux.no_new_privileges()
        linux.Filter(seccomp.FILTER).install()
    except OSError as error:
        return Examined(
            problem=f"no seccomp filter: {error.strerror}",
            remedy=f"a kernel with CONFIG_SECCOMP_FILTER, for {platform.machine()}",
        )
    try:
        linux.unshare(linux.CLONE_NEWUTS)
    except OSError:
        return Examined(f"seccomp filters for {platform.machine()}")
    return Examined(problem="the seccomp filters let everything through")


PARTS: Final[Mapping[str, Callable[[], Examined]]] = {
    "namespaces": namespaces,
    "cgroups": control_groups,
    "seccomp": system_call_filter,
}


def main(arguments: Sequence[str]) -> int:
    part, *rest = arguments
    examined = control_groups(*rest) if part == "cgroups" else PARTS[part]()
    sys.stdout.write(json.dumps(asdict(examined)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
