from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime

LISP = Runtime(
    key="lisp",
    label="Common Lisp (SBCL)",
    aliases=("common-lisp", "sbcl", "cl"),
    source_name="main.lisp",
    run=("sbcl", "--script", "{entry}"),
    version=("sbcl", "--version"),
    packages=("sbcl",),
    minimum={"max_processes": 4, "memory_bytes": 32 * MIB},
    selftest='(format t "~d~%" (* 6 7))\n',
)
