from __future__ import annotations

from executions.runtimes.base import Runtime

ADA = Runtime(
    key="ada",
    label="Ada (GNAT)",
    aliases=("gnat", "adb"),
    source_name="main.adb",
    compile=("gnatmake", "-q", "-O2", "-o", "a.out", "{entry}"),
    run=("./a.out",),
    version=("gnatmake", "--version"),
    packages=("gnat",),
    selftest='with Ada.Text_IO;\n\nprocedure Main is\nbegin\n   Ada.Text_IO.Put_Line ("42");\nend Main;\n',
)
