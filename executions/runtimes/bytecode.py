"""The compiled code of the Python files that prestarts bring.

Made once by the interpreter that will run them, as otherwise each sandbox would compile
them anew: a tenth of a start. It is of the kind that is never compared with its source.
An interpreter of another version, as after an upgrade, ignores it and compiles.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from executions.runtimes.base import Prestart
from executions.runtimes.build import BASE_ENV
from executions.runtimes.probe import find

COMPILE_TIMEOUT_S = 20.0

# The same bytes every time: they are part of a fork server's name. 1 is "unchecked".
_COMPILE = """
import importlib.util, marshal, os, sys
name, source = sys.argv[1], sys.stdin.buffer.read()
code = marshal.dumps(compile(source, name, "exec"))
check = (1).to_bytes(4, "little") + importlib.util.source_hash(source)
print(os.path.basename(importlib.util.cache_from_source(name)))
print((importlib.util.MAGIC_NUMBER + check + code).hex())
"""


def added_to(prestarts: Iterable[Prestart]) -> tuple[Prestart, ...]:
    """Return the prestarts with their bytecode, where this machine can make it."""
    return tuple(
        replace(prestart, bytecode=_bytecode(prestart)) for prestart in prestarts
    )


def _bytecode(prestart: Prestart) -> dict[str, str]:
    sources = {n: text for n, text in prestart.files.items() if n.endswith(".py")}
    interpreter = find(prestart.argv[0]) if sources else None
    if interpreter is None:
        return {}
    made = (_compiled(interpreter, name, text) for name, text in sources.items())
    return dict(pair for pair in made if pair)


@cache
def _compiled(interpreter: str, name: str, text: str) -> tuple[str, str] | None:
    """Return the name of the byte code's file and its content, or None."""
    try:
        done = subprocess.run(  # noqa: S603 - the prestart's own interpreter
            [interpreter, "-I", "-S", "-c", _COMPILE, name],
            env=dict(BASE_ENV),
            cwd="/",
            input=text.encode(),
            capture_output=True,
            timeout=COMPILE_TIMEOUT_S,
            check=True,
        )
        file, content = done.stdout.decode().split()
    except (OSError, subprocess.SubprocessError, ValueError):
        return None  # the sandboxes compile it, and show what is wrong with it
    return file, content
