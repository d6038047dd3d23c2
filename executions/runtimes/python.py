from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime
from executions.runtimes.prestart_files import PYTHON as PRESTART

PYTHON = Runtime(
    key="python",
    label="Python 3",
    aliases=("py", "python3", "py3"),
    source_name="main.py",
    run=("python3", "{entry}"),
    version=("python3", "--version"),
    packages=("python3",),
    prestart=PRESTART,
    minimum={"memory_bytes": 16 * MIB},
    selftest="print(6 * 7)\n",
)
