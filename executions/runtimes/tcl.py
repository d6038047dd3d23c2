from __future__ import annotations

from executions.runtimes.base import Runtime

TCL = Runtime(
    key="tcl",
    label="Tcl",
    aliases=("tclsh",),
    source_name="main.tcl",
    run=("tclsh", "{entry}"),
    version=("sh", "-c", "echo 'puts $tcl_patchLevel' | tclsh"),
    packages=("tcl",),
    selftest="puts [expr {6 * 7}]\n",
)
