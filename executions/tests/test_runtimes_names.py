"""Names are looked for in sources of strangers: no text may make that slow."""

from __future__ import annotations

import subprocess
import sys

import pytest

from executions import runtimes

LENGTH = 300_000
# Each once was, or could be, the beginning of something that takes quadratic time.
PIECES = {
    "newlines": "\n",
    "blank lines": "\n ",
    "spaces": " ",
    "open comments": "/* ",
    "open strings": '"\\',
    "quotes": '"a',
    "modifiers": "public static ",
    "packages": "package ",
    "modules": "-module( ",
    "procedures": "procedure ",
    "mains": "class A { void main( ",
}
NAMED = [runtime for runtime in runtimes.all() if runtime.name_of]
# A search of its own process can be ended; a regular expression cannot.
SEARCH = (
    "import sys; from executions import runtimes;"
    "find = runtimes.get(sys.argv[1]).name_of;"
    "print(find(sys.stdin.read()))"
)


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES.keys())
@pytest.mark.parametrize("runtime", NAMED, ids=lambda runtime: runtime.key)
def test_name_is_found_in_linear_time(runtime: runtimes.Runtime, piece: str) -> None:
    source = piece * (LENGTH // len(piece))
    subprocess.run(
        [sys.executable, "-c", SEARCH, runtime.key],
        input=source.encode(),
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=20,  # quadratic time would be many minutes
    )
