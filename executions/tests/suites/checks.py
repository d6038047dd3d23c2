"""What exact values cannot say about an outcome: ranges, posture, environments."""

from __future__ import annotations

import re

from executions.tests.suites.program import Check, Observed

ALLOWED_NAMES = {
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    # Set by shells and interpreters themselves.
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "LC_CTYPE",
}


def cpu_between(low_ms: int, high_ms: int) -> Check:
    def check(seen: Observed) -> str | None:
        if low_ms <= seen.cpu_time_ms <= high_ms:
            return None
        return f"cpu_time_ms {seen.cpu_time_ms} not in {low_ms}..{high_ms}"

    return check


def wall_below(high_ms: int) -> Check:
    def check(seen: Observed) -> str | None:
        if seen.wall_time_ms <= high_ms:
            return None
        return f"wall_time_ms {seen.wall_time_ms} above {high_ms}"

    return check


def memory_at_most(high_bytes: int) -> Check:
    def check(seen: Observed) -> str | None:
        if seen.memory_peak_bytes <= high_bytes:
            return None
        return f"memory_peak_bytes {seen.memory_peak_bytes} above {high_bytes}"

    return check


def memory_at_least(low_bytes: int) -> Check:
    def check(seen: Observed) -> str | None:
        if seen.memory_peak_bytes >= low_bytes:
            return None
        return f"memory_peak_bytes {seen.memory_peak_bytes} below {low_bytes}"

    return check


def cut_to(stream: str, limit_bytes: int, total_bytes: int) -> Check:
    """The kept part fills the limit, and the rest is counted exactly."""

    def check(seen: Observed) -> str | None:
        kept = len(seen.stdout if stream == "stdout" else seen.stderr)
        lost = seen.stdout_dropped if stream == "stdout" else seen.stderr_dropped
        if kept == limit_bytes and kept + lost == total_bytes:
            return None
        return f"{stream}: kept {kept}, dropped {lost}, of {total_bytes}"

    return check


def kept_at_most(limit_bytes: int) -> Check:
    def check(seen: Observed) -> str | None:
        sizes = [
            len(one)
            for one in (
                seen.stdout,
                seen.stderr,
                seen.compile_stdout,
                seen.compile_stderr,
            )
        ]
        return None if max(sizes) <= limit_bytes else f"kept {sizes} bytes"

    return check


def names_allowed(seen: Observed) -> str | None:
    """Every `mine NAME…` names a variable of the clean environment, or a wanted one."""
    names = re.findall(rb"^mine (\w+)", seen.stdout, re.MULTILINE)
    odd = {n.decode() for n in names} - ALLOWED_NAMES
    odd = {name for name in odd if not name.startswith("SUITE_ASKED")}
    return f"environment has {sorted(odd)}" if odd or not names else None


def unprivileged(seen: Observed) -> str | None:
    """Compare the printed /proc/self/status with what every box must have."""
    status = dict(
        line.split(":", 1)
        for line in seen.stdout.decode(errors="replace").splitlines()
        if ":" in line
    )
    wanted = {"NoNewPrivs": "1", "Seccomp": "2"}
    wanted |= {f"Cap{kind}": "0" * 16 for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    for name, value in wanted.items():
        if status.get(name, "").strip() != value:
            return f"{name} is {status.get(name, 'missing')!r}, not {value}"
    for name in ("Uid", "Gid"):
        if "0" in status.get(name, "0").split():
            return f"{name} is {status.get(name)!r}"
    return None


def mounts_harmless(seen: Observed) -> str | None:
    """Every mount is nosuid and nodev, and all but scratch and /proc is read-only.

    Device nodes need a mount without nodev; those are single read-only nodes in /dev.
    """
    text = seen.stdout.decode(errors="replace")
    mounts = re.findall(r"^mount (\S+) (\S+)$", text, re.MULTILINE)
    if not mounts:
        return "no mounts seen"
    private = ("/tmp", "/var/tmp", "/dev/shm", "/proc", "/home", "/box")  # noqa: S108
    # Of mounts on the same place only the last can be reached.
    for point, flags in dict(mounts).items():
        options = set(flags.split(","))
        if "nosuid" not in options:
            return f"{point} lacks nosuid: {flags}"
        if "nodev" not in options and not point.startswith(("/dev/", "/proc/")):
            return f"{point} lacks nodev: {flags}"
        if "ro" not in options and not point.startswith(private):
            return f"{point} is writable: {flags}"
    return None


def few_descriptors(seen: Observed) -> str | None:
    found = re.search(rb"^nofile (\d+) (\d+)$", seen.stdout, re.MULTILINE)
    core = re.search(rb"^core (\d+) (\d+)$", seen.stdout, re.MULTILINE)
    if found is None or int(found[2]) > 1024:
        return "more than 1024 descriptors are allowed"
    # 1 byte is what keeps a host's handler of core dumps from being started.
    wanted = core and core[1] == core[2] == b"1"
    return None if wanted else f"core dumps are allowed: {core and core[0]!r}"


def reads_as_utf8_tail(seen: Observed) -> str | None:
    """The kept bytes are a true beginning and a true end of the letters."""
    whole = "é".encode() * 3000
    kept = seen.stdout
    for cut in range(len(kept) + 1):
        if whole.startswith(kept[:cut]) and whole.endswith(kept[cut:]):
            return None
    return "the kept bytes are not the letters' head and tail"
