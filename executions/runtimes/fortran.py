from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime

FORTRAN = Runtime(
    key="fortran",
    label="Fortran (GCC)",
    aliases=("gfortran", "f90", "f95"),
    source_name="main.f90",
    compile=("gfortran", "-O2", "-pipe", "-o", "a.out", "{sources}"),
    run=("./a.out",),
    version=("gfortran", "--version"),
    packages=("gfortran",),
    compile_minimum={"max_processes": 8, "memory_bytes": 128 * MIB},
    selftest='program main\n  print "(i0)", 6 * 7\nend program main\n',
)
