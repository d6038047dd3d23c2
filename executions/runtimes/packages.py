"""Prints the Debian packages of all runtimes, or of those named, one on each line.

With `--known` first, a runtime is left out of all, and named on standard error, of
which this machine's Debian has not every package: no release has every language.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence

from executions import runtimes
from executions.runtimes.base import Runtime


def packages(chosen: Iterable[Runtime]) -> list[str]:
    """Return the Debian packages that bring these runtimes, each once, in order."""
    return sorted({package for runtime in chosen for package in runtime.packages})


def unknown(wanted: Iterable[str]) -> set[str]:
    """Return those of these packages of which apt knows no version to install."""
    names = sorted(wanted)
    told = subprocess.run(  # noqa: S603 - of our own making
        ["apt-cache", "policy", *names],  # noqa: S607 - wherever it is
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    entries = dict(re.findall(r"^(\S+):\n.*\n  Candidate: (.*)$", told, re.MULTILINE))
    return {name for name in names if entries.get(name, "(none)") == "(none)"}


def _known(chosen: Sequence[Runtime]) -> list[Runtime]:
    missing = unknown(packages(chosen))
    for runtime in chosen:
        if lacking := missing.intersection(runtime.packages):
            sys.stderr.write(f"no {runtime.label}: no package {', '.join(lacking)}\n")
    return [each for each in chosen if not missing.intersection(each.packages)]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--known", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args(arguments)
    try:
        chosen = tuple(map(runtimes.get, options.names)) or runtimes.all()
    except runtimes.UnknownRuntime as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.known and not options.names:
        chosen = tuple(_known(chosen))
    sys.stdout.write("".join(f"{package}\n" for package in packages(chosen)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
