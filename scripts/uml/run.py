"""Run a command on another kernel: cgroup v2, and a user without root.

Boots Debian's user-mode Linux (package user-mode-linux) as an ordinary process on the
files of this machine, read-only, with the checkout at /tmp/checkout. Needs no root, no
virtualisation and no image. Streams the command's output and ends with its exit status;
125 when the guest itself failed, 124 after the time is up.

    python -m scripts.uml.run -- .venv/bin/python -m pytest executions/tests/sandbox
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
UP, DONE = "::guest is up::", "::guest is done::"
GUEST_FAILED, TIMED_OUT = 125, 124


def write_job(folder: Path, argv: list[str], env: list[str], *, as_root: bool) -> None:
    """Leave for the guest what it shall run; it answers with a file `status`."""
    lines = [f"export {shlex.quote(pair)}" for pair in env]
    lines += ["export PYTHONDONTWRITEBYTECODE=1", f"exec {shlex.join(argv)}"]
    (folder / "command").write_text("\n".join(lines) + "\n")
    if as_root:
        (folder / "as-root").touch()
    folder.chmod(0o755)


def completes_registers(folder: Path) -> dict[str, str]:
    """Build what the guest's kernel needs on newer processors (see wide_xstate.c)."""
    library = folder / "wide_xstate.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return {}
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", library, HERE / "wide_xstate.c"],
        check=True,
    )
    return {"LD_PRELOAD": str(library)}


def kernel_command(folder: Path, memory_mib: int) -> list[str]:
    kernel = shutil.which("linux.uml")
    if kernel is None:
        sys.exit("user-mode Linux is not installed (Debian: user-mode-linux)")
    return [
        kernel, f"mem={memory_mib}M", "root=/dev/root", "rootfstype=hostfs",
        "rootflags=/", "ro", f"init={HERE / 'init'}", f"job={folder}",
        f"checkout={CHECKOUT}", f"interpreter={sys.base_prefix}",
        f"uml_dir={folder}", "umid=guest", "con=null",
        "con0=null,fd:1", "quiet", "loglevel=1",
    ]  # fmt: skip


def follow(guest: subprocess.Popen[str], *, verbose: bool) -> list[str]:
    """Print what the command prints; return the guest's own messages."""
    boot: list[str] = []
    is_shown = verbose
    for line in guest.stdout or ():
        if line.strip() in {UP, DONE}:
            is_shown = verbose or line.strip() == UP
        elif is_shown:
            print(line, end="", flush=True)
        else:
            boot.append(line)
    return boot


def end(guest: subprocess.Popen[str]) -> None:
    """Kill the guest with every process that stands for one of its own."""
    try:
        os.killpg(guest.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def run(folder: Path, *, memory_mib: int, timeout_s: float, verbose: bool) -> int:
    guest = subprocess.Popen(
        kernel_command(folder, memory_mib),
        env={**os.environ, **completes_registers(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    timer = threading.Timer(timeout_s, end, [guest])
    timer.start()
    try:
        boot = follow(guest, verbose=verbose)
        guest.wait()
    finally:
        timed_out = not timer.is_alive()
        timer.cancel()
        end(guest)
    status = folder / "status"
    if status.exists():
        return int(status.read_text())
    if timed_out:
        print(f"guest stopped after {timeout_s:.0f} s")
        return TIMED_OUT
    print("the guest failed:", *boot[-40:], sep="\n")
    return GUEST_FAILED


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--memory-mib", type=int, default=3072)
    parser.add_argument("--timeout", type=float, default=900, help="seconds")
    parser.add_argument("--root", action="store_true", help="run as the guest's root")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--verbose", action="store_true", help="show the boot")
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    # SIGTERM ends like Ctrl-C, so that the guest never stays behind.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="guest-") as name:
        folder = Path(name)
        write_job(folder, given.command, given.env, as_root=given.root)
        return run(
            folder,
            memory_mib=given.memory_mib,
            timeout_s=given.timeout,
            verbose=given.verbose,
        )


if __name__ == "__main__":
    sys.exit(main())
