"""Prints the Debian packages of all runtimes, or of those named, one on each line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from executions import runtimes
from executions.runtimes.base import Runtime


def packages(chosen: Iterable[Runtime]) -> list[str]:
    """Return the Debian packages that bring these runtimes, each once, in order."""
    return sorted({package for runtime in chosen for package in runtime.packages})


def main(names: Sequence[str]) -> int:
    try:
        chosen = [runtimes.get(name) for name in names] or runtimes.all()
    except runtimes.UnknownRuntime as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{package}\n" for package in packages(chosen)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
