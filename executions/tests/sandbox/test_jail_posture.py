"""What a program finds about itself in a jail, compared as a whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from executions.sandbox import jail
from executions.sandbox.jails import JailBackend
from executions.tests.sandbox.conftest import Runner, finish

pytestmark = pytest.mark.jail

LOOK = """
import json, os, resource, socket
status = dict(
    line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines()
    if ":\\t" in line
)
mounts = {}
for line in open("/proc/self/mountinfo"):
    fields = line.split()
    mounts[fields[4]] = sorted(set(fields[5].split(",")) - {"relatime"})
print(json.dumps({
    "uids": sorted(set(os.getresuid())), "gids": sorted(set(os.getresgid())),
    "groups": os.getgroups(),
    "status": {
        name: status[name] for name in
        ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    },
    "descriptors": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
    "environment": dict(os.environ),
    "processes": sorted(int(p) for p in os.listdir("/proc") if p.isdigit()),
    "mounts": mounts,
    "root": sorted(os.listdir("/")),
    "devices": sorted(os.listdir("/dev")),
    "interfaces": [
        line.split(":")[0].strip()
        for line in open("/proc/net/dev").read().splitlines()[2:]
    ],
    "host": socket.gethostname(),
    "folder": os.getcwd(),
    "home": os.path.expanduser("~"),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "realtime": resource.getrlimit(resource.RLIMIT_RTPRIO),
    "umask": os.umask(0),
}))
"""


@pytest.fixture
def jailed(jail_backend: JailBackend) -> Runner:
    return Runner(jail_backend)


@pytest.fixture
def posture(jailed: Runner) -> dict[str, Any]:
    case = jailed.case(LOOK)
    assert case.exit_code == 0, case.stderr.head
    found: dict[str, Any] = json.loads(case.stdout.head)
    return found


def test_program_has_no_privileges(posture: dict[str, Any]) -> None:
    none = "0000000000000000"
    assert posture["status"] == {
        "CapInh": none,
        "CapPrm": none,
        "CapEff": none,
        "CapBnd": none,
        "CapAmb": none,
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }
    (uid,) = posture["uids"]
    assert uid not in (0, os.getuid())
    assert posture["gids"] == [uid]
    assert posture["groups"] in ([], [uid], [65534])


def test_program_has_three_descriptors(posture: dict[str, Any]) -> None:
    # One more is what listing them takes.
    assert posture["descriptors"] == [0, 1, 2, 3]


def test_program_has_a_clean_environment(posture: dict[str, Any]) -> None:
    seen = {k: v for k, v in posture["environment"].items() if k != "LC_CTYPE"}
    assert seen == dict(jail.ENVIRONMENT)


def test_program_sees_the_agent_and_itself(posture: dict[str, Any]) -> None:
    assert len(posture["processes"]) == 2
    assert posture["processes"][0] == 1


def test_writable_mounts_are_the_scratch_ones(posture: dict[str, Any]) -> None:
    mounts = {
        path: flags
        for path, flags in posture["mounts"].items()
        if not path.startswith("/proc")
    }
    writable = {path for path, flags in mounts.items() if "rw" in flags}
    assert writable == set(jail.WRITABLE)
    devices = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")}
    for path, flags in mounts.items():
        assert "nosuid" in flags, path
        assert ("nodev" in flags) == (path not in devices), path


def test_root_shows_the_system_only(posture: dict[str, Any]) -> None:
    system = {"usr", "bin", "sbin", "lib", "lib64", "lib32", "libx32"}
    assert set(posture["root"]) - system == {
        *("box", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "var")
    }
    assert set(posture["devices"]) == {
        *("null", "zero", "full", "random", "urandom"),
        *("fd", "stdin", "stdout", "stderr", "shm"),
    }


def test_program_has_loopback_only(posture: dict[str, Any]) -> None:
    assert posture["interfaces"] == ["lo"]


def test_program_has_its_place_and_limits(posture: dict[str, Any]) -> None:
    assert posture["host"] == jail.HOSTNAME
    assert posture["folder"] == jail.SCRATCH
    assert posture["home"] == jail.HOME
    assert posture["core"] == [1, 1]
    assert posture["files"] == [1024, 1024]
    assert posture["realtime"] == [0, 0]
    assert posture["umask"] == 0o022


def test_no_root_file_is_readable(jailed: Runner) -> None:
    # Mode 600 files of root lie in most systems' /usr and /etc; ours is sure to.
    secret = "/etc/shadow"
    assert Path(secret).exists()
    case = jailed.case(f"print(open({secret!r}).read())")
    assert b"No such file" in case.stderr.head


def test_host_folders_are_absent(jailed: Runner) -> None:
    marker = str(Path(__file__).resolve())
    case = jailed.case(
        "import json, os\n"
        "folders = '/root', '/home', '/run', '/sys', '/var'\n"
        f"print(json.dumps([os.path.exists({marker!r}), *map(os.listdir, folders)]))"
    )
    is_there, root, home, run, sys, var = json.loads(case.stdout.head)
    assert not is_there
    assert (root, home, run, sys) == ([], ["runner"], ["start"], [])
    assert set(var) <= {"tmp", "lib"}


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/usr/bin/python3', 'ab')",
        "open('/etc/passwd', 'a')",
        "os.mkdir('/x')",
        "open('/proc/sys/kernel/core_pattern', 'w')",
        "open('/proc/sysrq-trigger', 'w').write('h')",
        "open('/proc/kmsg').read(1)",
        "open('/proc/kcore', 'rb').read(1)",
        "os.chmod('/dev/null', 0o600)",
        "os.utime('/dev/null')",
        "os.unlink('/dev/null')",
        "os.mknod('/tmp/d', 0o20666, os.makedev(1, 1))",
        "os.setuid(0)",
        "os.chroot('/tmp')",
        "os.setgroups([0])",
        "os.nice(-1)",
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
        "os.kill(1, 9)",
        "os.sched_setaffinity(1, {0})",
        "os.setpriority(os.PRIO_PROCESS, 1, 19)",
        "os.setpriority(os.PRIO_USER, os.getuid(), 19)",
        "resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3))",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))",
        "os.listdir('/proc/1/fd')",
        "open('/proc/1/mem', 'r+b')",
        "os.readlink('/proc/1/root')",
        "open('/proc/1/environ').read()",
        "time.clock_settime(time.CLOCK_REALTIME, 0)",
        "socket.sethostname('x')",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
        "socket.create_connection(('192.0.2.1', 80), 1)",
        "socket.create_connection(('127.0.0.1', 5432), 1)",
    ],
)
def test_attempt_is_refused(jailed: Runner, attempt: str) -> None:
    case = jailed.case(
        "import os, resource, socket, time\n"
        f"try: {attempt}\n"
        "except OSError as e: print('refused', e)\n"
        "except ValueError as e: print('refused', e)\n"
        "else: print('done')"
    )
    assert case.stdout.head.startswith(b"refused"), (case.stdout, case.stderr)


@pytest.mark.parametrize("name", ["cmdline", "kallsyms", "keys", "modules"])
def test_telling_files_of_the_kernel_are_empty(jailed: Runner, name: str) -> None:
    case = jailed.case(
        "import os\n"
        f"path = '/proc/{name}'\n"
        "print(open(path).read() if os.path.exists(path) else '')"
    )
    assert case.stdout.head == b"\n", case.stderr


@pytest.mark.parametrize(
    "code",
    [
        # Threads and processes of every kind.
        "import threading as t; x = t.Thread(target=print, args=(6 * 7,)); x.start()",
        "import subprocess as s; print(s.check_output(['echo', '42']).decode())",
        "import multiprocessing as m\nif __name__ == '__main__':\n"
        "    with m.Pool(2) as p: print(p.map(abs, [-42])[0])",
        "import multiprocessing as m\n"
        "if __name__ == '__main__':\n"
        "    m.set_start_method('spawn')\n"
        "    with m.Pool(1) as p: print(p.map(abs, [-42])[0])",
        "import os; p = os.posix_spawn('/bin/echo', ['echo', '42'], {})\nos.wait()",
        # Files, memory, sockets.
        "import tempfile; f = tempfile.TemporaryFile(); print(f.write(b'x' * 42))",
        "from multiprocessing import shared_memory as s\n"
        "m = s.SharedMemory(create=True, size=42); print(42); m.unlink()",
        "import mmap; m = mmap.mmap(-1, 1 << 20); m[:2] = b'42'; print(m[:2].decode())",
        "import os; os.mkfifo('/tmp/f'); os.link('main.py', 'm2'); print(42)",
        "import socket as s; a = s.create_server(('127.0.0.1', 0))\n"
        "b = s.create_connection(a.getsockname()); c, _ = a.accept()\n"
        "b.send(b'42'); print(c.recv(9).decode())",
        "import socket; a, b = socket.socketpair(); a.send(b'42')\n"
        "print(b.recv(9).decode())",
        "import asyncio; print(asyncio.run(asyncio.sleep(0.01, 42)))",
        "import os; print(os.sched_getaffinity(0) and os.cpu_count() and 42)",
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (64, 64)); print(42)",
        "import signal, os; signal.signal(10, lambda *_: print(42))\n"
        "os.kill(os.getpid(), 10)",
        "import getpass, pwd, os; assert getpass.getuser(); print(42)",
        "import os; os.nice(5); print(42)",
        "import ctypes; print(ctypes.CDLL(None).abs(-42))",
        "import os; print(len(os.urandom(42)))",
        "import locale, sys; assert sys.stdout.encoding == 'utf-8'; print(42)",
        "import sqlite3; c = sqlite3.connect('x.db')\n"
        "print(c.execute('select 42').fetchone()[0])",
    ],
)
def test_ordinary_programs_run(jailed: Runner, code: str) -> None:
    case = jailed.case(code)
    assert (case.stdout.head.split(), case.stderr.head) == ([b"42"], b"")


@pytest.mark.parametrize("folder", sorted(jail.WRITABLE))
def test_all_writable_folders_share_one_cap(jailed: Runner, folder: str) -> None:
    case = jailed.case(
        "import os\n"
        f"open('{jail.SCRATCH}/half', 'wb').write(bytes(600_000))\n"
        f"try: open('{folder}/other', 'wb').write(bytes(600_000))\n"
        "except OSError as error: print(error.errno)",
        limits={"scratch_bytes": 1_000_000},
    )
    assert case.stdout.head == b"28\n"


def test_inodes_are_capped(jailed: Runner) -> None:
    case = jailed.case(
        "import os\n"
        "try:\n"
        "    for number in range(100_000): os.mknod(str(number))\n"
        "except OSError as error: print(error.errno, number < 70_000)",
        limits={"cpu_time_ms": 20_000},
    )
    assert case.stdout.head == b"28 True\n"


def test_peers_have_uids_of_their_own(jailed: Runner) -> None:
    code = "import os, time; print(os.getuid(), flush=True); time.sleep(0.5)"
    sessions = [jailed.start(code) for _ in range(3)]
    outcomes = [finish(session)[0] for session in sessions]
    uids = {outcome.cases[0].stdout.head for outcome in outcomes}
    expected = 3 if os.geteuid() == 0 else 1
    assert len(uids) == expected
