"""Does once what would make every run of a compiler slow: `python -m … [FOLDER]`.

What a runtime's Prepare leaves is kept in a folder of its own below FOLDER, which the
sandboxes show read-only as base.PREPARED. It is made again when the toolchain changes.
Programs never see it being made: a folder appears whole, or not at all.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from executions import runtimes
from executions.runtimes import probe
from executions.runtimes.base import Prepare, Runtime
from executions.runtimes.build import BASE_ENV

TIMEOUT_S = 600.0
_STAMP = ".made-for"


class NotPrepared(RuntimeError):
    """The preparation failed; the runtime works without it, but slowly."""


def needed(base: Path) -> list[Runtime]:
    """Return the runtimes that are available here and not prepared in `base` yet."""
    return [
        runtime
        for runtime in runtimes.all()
        if runtime.prepare
        and probe.is_available(runtime)
        and not is_prepared(runtime, base)
    ]


def is_prepared(runtime: Runtime, base: Path) -> bool:
    """Tell whether `base` holds what was made by this very toolchain."""
    if runtime.prepare is None:
        return True
    try:
        return (base / runtime.key / _STAMP).read_text() == _stamp(runtime)
    except OSError:
        return False


def prepare(runtime: Runtime, base: Path) -> None:
    """Prepare a runtime in `base`; takes up to a minute of CPU. Raises NotPrepared."""
    if runtime.prepare is None:
        return
    base.mkdir(parents=True, exist_ok=True)
    base.chmod(0o755)
    with _only_one(base / f".{runtime.key}.lock"):
        if is_prepared(runtime, base):
            return
        for left_over in base.glob(f".{runtime.key}-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        # mkdtemp's folder is its owner's alone; the sandboxes' users have to enter it.
        made = Path(tempfile.mkdtemp(prefix=f".{runtime.key}-", dir=base))
        try:
            made.chmod(0o755)
            _make(runtime, runtime.prepare, made)
            _swap(made, base / runtime.key)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def _make(runtime: Runtime, how: Prepare, made: Path) -> None:
    def filled(text: str) -> str:
        return text.replace("{folder}", str(made))

    for name, text in how.files.items():
        (made / name).write_text(text)
        (made / name).chmod(0o644)
    env = {**BASE_ENV, **runtime.compile_env}
    env |= {name: filled(value) for name, value in how.env.items()}
    name, *arguments = how.argv
    argv = [probe.find(name) or name, *map(filled, arguments)]
    with tempfile.TemporaryDirectory() as home:
        _run(argv, made, {**env, "HOME": home, "TMPDIR": home})
    (made / _STAMP).write_text(_stamp(runtime))


def _run(argv: list[str], folder: Path, env: dict[str, str]) -> None:
    try:
        subprocess.run(  # noqa: S603 - argv is the runtime's own
            argv,
            cwd=folder,
            env=env,
            umask=0o022,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise NotPrepared(
            f"{argv[0]} exited with {error.returncode}: {said}"
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotPrepared(str(error)) from error


def _swap(made: Path, target: Path) -> None:
    old = made.with_name(f"{made.name}.old")
    if target.exists():
        target.rename(old)
    made.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _stamp(runtime: Runtime) -> str:
    return repr(
        (probe.fingerprint(runtime), runtime.prepare, dict(runtime.compile_env))
    )


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m executions.runtimes.prepare FOLDER\n")
        return 2
    base, failed = Path(arguments[0]), False
    for runtime in needed(base):
        sys.stdout.write(f"preparing {runtime.label}\n")
        sys.stdout.flush()
        try:
            prepare(runtime, base)
        except NotPrepared as error:
            sys.stderr.write(f"{runtime.label}: {error}\n")
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
