"""What lies about on the host to be found: secrets, listeners, a process, memory.

All of it is named after one nonce, is open to every user (so that the sandbox, and not
a permission bit, has to refuse) and is taken away at the end. Nothing that was there
before is touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FOLDERS = (
    "/tmp",  # noqa: S108  the shared folders are the point
    "/var/tmp",  # noqa: S108
    "/dev/shm",  # noqa: S108
    "/root",
    "/home",
    "/srv",
    "/opt",
    "/mnt",
    "/media",
    "/run",
    "/run/lock",
    "/var/lib",
    "/var/cache",
    "/var/mail",
    "/etc",
    "/",
)

# The platform's own data: the database and the secret key lie there.
PROJECT = Path(__file__).resolve().parents[3]

IPC_CREAT, IPC_RMID = 0o1000, 0
SHM_BYTES = 4096

# Whom a program inside must not reach; never tried from outside of a sandbox.
OUTSIDE = "169.254.169.254,8.8.8.8,10.0.0.1,172.17.0.1,192.168.0.1"


@dataclass(slots=True)
class Listener:
    """Counts who came; greets everyone with a secret."""

    name: str
    sock: socket.socket
    secret: bytes
    visits: int = 0

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._greet_one()

    def _greet_one(self) -> None:
        if self.sock.type == socket.SOCK_DGRAM:
            self.sock.recvfrom(100)
            self.visits += 1
            return
        peer, _ = self.sock.accept()
        self.visits += 1
        with peer, contextlib.suppress(OSError):
            peer.sendall(self.secret)


@dataclass(slots=True)
class Bait:
    """Everything that was laid out; `names` fills the programs' placeholders."""

    nonce: str
    secrets: list[bytes] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def secret(self, kind: str) -> bytes:
        """Return a new one, which no output may ever show."""
        value = f"SUITEMARK-{kind}-{secrets.token_hex(8)}".encode()
        self.secrets.append(value)
        return value

    def visits(self) -> dict[str, int]:
        return {one.name: one.visits for one in self.listeners if one.visits}


@contextlib.contextmanager
def laid_out(extra_folders: tuple[str, ...] = ()) -> Iterator[Bait]:
    bait = Bait(nonce=secrets.token_hex(4))
    bait.names |= {"nonce": bait.nonce, "outside": OUTSIDE}
    with contextlib.ExitStack() as stack:
        stack.callback(_clear_folders, bait)
        for folder in (
            *FOLDERS,
            str(Path.home()),
            str(PROJECT / "var"),
            *extra_folders,
        ):
            _lay_files(bait, Path(folder))
        bait.names["folders"] = ":".join(str(folder) for folder in bait.folders)
        bait.names["bait_file"] = str(_plainest(bait.folders) / "bait.h")
        _lay_listeners(bait, stack)
        _lay_shared_memory(bait, stack)
        _start_process(bait, stack)
        yield bait


def _lay_files(bait: Bait, parent: Path) -> None:
    folder = parent / f"suite-bait-{bait.nonce}"
    if folder in bait.folders or not os.access(parent, os.W_OK):
        return
    try:
        folder.mkdir()
    except OSError:  # a read-only or special file system holds no bait
        return
    folder.chmod(0o777)
    bait.folders.append(folder)
    secret = bait.secret(f"file-{len(bait.folders)}").decode()
    # One text that shows in the messages of any compiler that includes it.
    (folder / "bait.h").write_text(f'{secret}\n#error "{secret}"\n')
    (folder / ".env").write_text(f"SECRET_KEY={bait.secret('env').decode()}\n")
    (folder / "private").write_bytes(bait.secret("private"))
    for name, mode in (("bait.h", 0o666), (".env", 0o666), ("private", 0o600)):
        (folder / name).chmod(mode)
        bait.files.append(folder / name)


def _plainest(folders: list[Path]) -> Path:
    """Return a folder outside of what every sandbox replaces by an own one."""
    for folder in folders:
        if folder.parts[1] in {"etc", "opt", "srv", "var"}:
            return folder
    return folders[-1]


def _clear_folders(bait: Bait) -> None:
    for folder in bait.folders:
        shutil.rmtree(folder, ignore_errors=True)
    # Without a sandbox, programs leave files under our nonce where everybody may.
    for shared in FOLDERS:
        for path in Path(shared).glob(f"suite-{bait.nonce}*"):
            path.unlink(missing_ok=True)


def _lay_listeners(bait: Bait, stack: contextlib.ExitStack) -> None:
    shared = Path(tempfile.mkdtemp(prefix=f"suite-bait-{bait.nonce}-"))
    shared.chmod(0o777)
    bait.folders.append(shared)
    path, abstract = str(shared / "socket"), f"suite-{bait.nonce}"
    kinds = (
        ("tcp", socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 0)),  # noqa: S104
        ("tcp6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
        ("udp", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        ("unix", socket.AF_UNIX, socket.SOCK_STREAM, path),
        ("abstract", socket.AF_UNIX, socket.SOCK_STREAM, "\0" + abstract),
    )
    for name, family, kind, address in kinds:
        sock = stack.enter_context(socket.socket(family, kind))
        try:
            sock.bind(address)
        except OSError:  # no IPv6 here
            continue
        if kind == socket.SOCK_STREAM:
            sock.listen(8)
        if name not in {"unix", "abstract"}:
            bait.names[f"{name}_port"] = str(sock.getsockname()[1])
        listener = Listener(name, sock, bait.secret(f"socket-{name}"))
        bait.listeners.append(listener)
        # accept() only ends when the socket is shut down, not when it is closed.
        stack.callback(_shut, sock)
        threading.Thread(target=listener.serve, daemon=True).start()
    Path(path).chmod(0o777)
    bait.names.setdefault("tcp6_port", "1")
    bait.names |= {"unix_path": path, "abstract_name": abstract}


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _lay_shared_memory(bait: Bait, stack: contextlib.ExitStack) -> None:
    """Leave a System V segment and a message queue, open to all."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    libc.shmdt.argtypes = (ctypes.c_void_p,)
    key = int(bait.nonce[:7], 16) + 1
    segment = libc.shmget(key, SHM_BYTES, IPC_CREAT | 0o666)
    queue = libc.msgget(key, IPC_CREAT | 0o666)
    if segment < 0 or queue < 0:
        raise OSError(ctypes.get_errno(), "no System V bait")
    stack.callback(libc.shmctl, segment, IPC_RMID, None)
    stack.callback(libc.msgctl, queue, IPC_RMID, None)
    address = libc.shmat(segment, None, 0)
    secret = bait.secret("sysv")
    ctypes.memmove(address, secret, len(secret))
    libc.shmdt(address)
    bait.names |= {
        "sysv_key": str(key),
        "shm_id": str(segment),
        "msg_id": str(queue),
    }


def _start_process(bait: Bait, stack: contextlib.ExitStack) -> None:
    """Start a bystander with a secret in its arguments and its environment."""
    bait.process = subprocess.Popen(
        [
            sys.executable,
            "-S",
            "-c",
            "import time; time.sleep(100000)",
            bait.secret("argv").decode(),
        ],
        env={"SUITE_BYSTANDER": bait.secret("environ").decode()},
    )
    stack.callback(bait.process.wait)
    stack.callback(bait.process.kill)
    bait.names["host_pid"] = str(bait.process.pid)
