"""The agent's hand in the scratch folder: write, keep a copy, empty, restore.

Everything but `write` happens after hostile code ran, though never while it runs. So
nothing is followed: folders are opened relative to their parents with O_NOFOLLOW, only
regular files are read, and depth is no recursion. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_MOST_NAMES = 1_000_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class CannotKeep(Exception):
    """The build is more than the agent keeps a copy of."""


class Entry(NamedTuple):
    """A folder (content None), a regular file (bytes) or a link (str) of the copy."""

    path: str
    mode: int
    content: bytes | str | None


def write(root: str, files: Iterable[tuple[str, bytes]]) -> None:
    """Create the files below `root`, with the folders they need.

    The paths have been checked (protocol.is_path). Raises OSError, also when two
    files get in each other's way.
    """
    for path, content in files:
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(f"{root}/{folder}", mode=0o755, exist_ok=True)
        _write(os.open(f"{root}/{path}", _NEW, 0o644), content)


def _write(descriptor: int, content: bytes) -> None:
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


def copy(root: str, *, max_bytes: int, max_entries: int) -> list[Entry]:
    """Return what lies below `root`, parents first; special files are left out.

    Raises CannotKeep when it is more than allowed.
    """
    entries: list[Entry] = []
    room = max_bytes
    for parent, name, path, info in _walk(root):
        entry = _entry(parent, name, path, info, room)
        if entry is None:
            continue
        entries.append(entry)
        room -= len(entry.content or b"")
        if room < 0 or len(entries) > max_entries:
            raise CannotKeep(f"the build is larger than {max_bytes} bytes")
    return entries


def _entry(
    parent: int, name: str, path: str, info: os.stat_result, room: int
) -> Entry | None:
    mode = stat.S_IMODE(info.st_mode) & 0o777
    if stat.S_ISDIR(info.st_mode):
        return Entry(path, mode, None)
    if stat.S_ISLNK(info.st_mode):
        return Entry(path, mode, os.readlink(name, dir_fd=parent))
    if not stat.S_ISREG(info.st_mode):
        return None
    if info.st_size > room:
        raise CannotKeep("the build is too large to be kept for several cases")
    if not mode & 0o400:
        return None
    descriptor = os.open(name, _FILE, dir_fd=parent)
    with open(descriptor, "rb") as file:
        return Entry(path, mode, file.read(room + 1))


def _walk(root: str) -> Iterator[tuple[int, str, str, os.stat_result]]:
    """Yield (folder, name, path, status) of all below `root`, parents first."""
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            folder = _open_below(root, below)
        except OSError:
            continue
        try:
            for name in sorted(os.listdir(folder)):
                info = os.stat(name, dir_fd=folder, follow_symlinks=False)
                path = f"{below}/{name}" if below else name
                yield folder, name, path, info
                if stat.S_ISDIR(info.st_mode):
                    pending.append(path)
        finally:
            os.close(folder)


def _open_below(root: str, path: str) -> int:
    descriptor = os.open(root, _FOLDER)
    for part in path.split("/") if path else ():
        try:
            inner = os.open(part, _FOLDER, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def restore(root: str, entries: Iterable[Entry]) -> None:
    """Write a copy back below the empty `root`. Raises OSError."""
    folders: list[Entry] = []
    for entry in entries:
        path = f"{root}/{entry.path}"
        if entry.content is None:
            os.mkdir(path, 0o700)
            folders.append(entry)
        elif isinstance(entry.content, str):
            os.symlink(entry.content, path)
        else:
            descriptor = os.open(path, _NEW, 0o600)
            os.fchmod(descriptor, entry.mode)
            _write(descriptor, entry.content)
    for folder in reversed(folders):
        os.chmod(f"{root}/{folder.path}", folder.mode)


def empty(root: str) -> None:
    """Remove everything below `root`, however deep, odd or protected it is."""
    with contextlib.suppress(PermissionError):  # not ours, and as it always was
        os.chmod(root, 0o700)
    top = os.open(root, _FOLDER)
    try:
        serial = 0
        # A folder's own folders are moved to the top and emptied in their turn: depth
        # costs neither recursion nor descriptors.
        while names := os.listdir(top):
            for name in names:
                if _remove(top, name):
                    continue
                serial = _lift(top, name, serial)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _remove(folder: int, name: str) -> bool:
    """Unlink a file or an empty folder; return False for a folder with content."""
    info = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISDIR(info.st_mode):
        os.unlink(name, dir_fd=folder)
        return True
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError:
        return False
    return True


def _lift(top: int, name: str, serial: int) -> int:
    """Empty the folder `name` in `top`, moving its non-empty folders into `top`."""
    # Nothing else runs, so what was a folder a moment ago is one still.
    os.chmod(name, 0o700, dir_fd=top)
    folder = os.open(name, _FOLDER, dir_fd=top)
    try:
        for inner in os.listdir(folder):
            if _remove(folder, inner):
                continue
            os.chmod(inner, 0o700, dir_fd=folder)
            while True:
                serial += 1
                try:
                    os.rename(
                        inner, f".lifted-{serial}", src_dir_fd=folder, dst_dir_fd=top
                    )
                    break
                except OSError:
                    # The program made that very name; a folder never replaces a full
                    # one, so nothing was lost. An empty one is replaced, harmlessly.
                    if serial > _MOST_NAMES:
                        raise
    finally:
        os.close(folder)
    return serial
