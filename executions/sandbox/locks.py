"""Locks on files that leave no file behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Final

_UID_BLOCKS: Final = 1000
UIDS_OF_A_BLOCK: Final = 1000
_FOR_LOCKS: Final = Path("/run/lock" if Path("/run/lock").is_dir() else "/run")


def take(path: Path, *, wait_s: float = 0.0) -> int | None:
    """Make and lock a file, together with its folder; None while another holds it.

    The lock lasts until the descriptor is closed. Whoever is done removes the file
    first, as its last act.
    """
    deadline = time.monotonic() + wait_s
    while True:
        with contextlib.suppress(FileNotFoundError):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _is_ours(handle, path):
                return handle
            os.close(handle)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.02)


def _is_ours(handle: int, path: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # The one before us may have removed it in between.
    return os.path.samestat(os.fstat(handle), path.stat())


class UidBlock:
    """A range of uids that no other fork server of this machine uses."""

    def __init__(self, first: int, parent: Path = _FOR_LOCKS) -> None:
        self._folder = "coding-platform"
        for block in range(_UID_BLOCKS):
            path = parent / self._folder / f"uids.{block}"
            handle = take(path)
            if handle is not None:
                self._handle = handle
                self._name = path.name
                self.first = first + block * UIDS_OF_A_BLOCK
                self._fds = _folder_fd(parent), _folder_fd(path.parent)
                return
        raise OSError("every block of uids is taken")

    def release(self) -> None:
        """Give the block back, also where the host's paths are out of sight."""
        parent, folder = self._fds
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._name, dir_fd=folder)
        with contextlib.suppress(OSError):
            os.rmdir(self._folder, dir_fd=parent)
        for fd in (*self._fds, self._handle):
            os.close(fd)


def _folder_fd(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
