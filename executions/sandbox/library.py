"""Running a program in a jail from any script: no Django, no server, no database."""

from __future__ import annotations

import atexit
import os
import stat
import tempfile
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from executions import runtimes
from executions.limits import Limits
from executions.sandbox.base import (
    Backend,
    Case,
    Command,
    Finished,
    Outcome,
    RunSpec,
    SandboxError,
    SandboxUnavailable,
    SourceFile,
)
from executions.sandbox.jails import Config, JailBackend

_lock = threading.Lock()
_shared: JailBackend | None = None


def run(  # noqa: PLR0913 - all but the first have a default
    argv: Sequence[str],
    *,
    files: Mapping[str, bytes | str] | None = None,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    build: Sequence[str] | None = None,
    build_limits: Limits | None = None,
    backend: Backend | None = None,
) -> Outcome:
    """Run one program in a jail of its own and return what happened.

    `files` lie in its working folder; `build`, if any, is executed there first, in the
    same jail with its own limits. Blocks until the program ends, at the latest at its
    limits. A program that fails is an Outcome, never an exception.

    The first call starts a small server process, which ends with this one. Raises
    SandboxUnavailable when there can be no jail here; its text says why.
    """
    spec = RunSpec(
        key=uuid.uuid4().hex,
        files=tuple(
            SourceFile(path, text.encode() if isinstance(text, str) else text)
            for path, text in (files or {}).items()
        ),
        run=Command(tuple(argv), limits or Limits(), env or {}),
        compile=Command(tuple(build), build_limits or Limits(), env or {})
        if build
        else None,
        cases=(Case(stdin),),
    )
    session = (backend or _backend()).start(spec)
    for event in session.events():
        if isinstance(event, Finished):
            session.acknowledge()
            return event.outcome
    raise SandboxError("the sandbox ended without an outcome")


def _backend() -> JailBackend:
    global _shared  # noqa: PLW0603 - one server for a process
    with _lock:
        if _shared is None:
            config = Config(read_only=runtimes.paths(), linger_s=5.0)
            _shared = JailBackend(_state_folder(), config)
            atexit.register(_shared.close)
        return _shared


def _state_folder() -> Path:
    """Return a folder that only this user can have made."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    uid = os.getuid()
    parent = Path(runtime) if runtime and Path(runtime).is_dir() else None
    folder = (parent or Path(tempfile.gettempdir())) / f"coding-platform-{uid}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != uid or not stat.S_ISDIR(status.st_mode):
        raise SandboxUnavailable(f"{folder} belongs to somebody else")
    return folder
