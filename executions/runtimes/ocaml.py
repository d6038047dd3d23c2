from __future__ import annotations

from executions.limits import MIB
from executions.runtimes.base import Runtime

OCAML = Runtime(
    key="ocaml",
    label="OCaml",
    aliases=("ml", "ocamlopt"),
    source_name="main.ml",
    compile=("ocamlopt", "unix.cmxa", "str.cmxa", "-o", "a.out", "{sources}"),
    run=("./a.out",),
    version=("ocamlopt", "-version"),
    packages=("ocaml-nox",),
    compile_minimum={"max_processes": 8, "memory_bytes": 128 * MIB},
    selftest='let () = Printf.printf "%d\\n" (6 * 7)\n',
)
