from __future__ import annotations

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
    selftest='let () = Printf.printf "%d\\n" (6 * 7)\n',
)
