"""What a runtime is: one frozen value, declared in one file per language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Prestart:
    """An interpreter that waits, already started, inside a warm jail.

    `argv` is executed in the jail ahead of time. It reads one JSON line from file
    descriptor 3 (`{"argv": [...], "env": {...}}`; argv[0] is the program's own file),
    closes the descriptor, and from there on behaves like `run` with that program.
    """

    key: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Runtime:
    """One language, as it is compiled and run in the scratch folder of a sandbox.

    `compile` and `run` are argument lists, never shell text; `{entry}` stands for the
    program's entry point and `{stem}` for it without its ending. `version` prints the
    version; its first line that holds a digit is shown. `packages` are the Debian
    packages that bring the toolchain. `minimum` and `compile_minimum` are the limits
    below which the runtime itself would fail or hang; lower requests are raised to them.
    """

    key: str
    label: str
    source_name: str
    run: tuple[str, ...]
    version: tuple[str, ...]
    packages: tuple[str, ...]
    selftest: str
    selftest_stdout: bytes = b"42\n"
    aliases: tuple[str, ...] = ()
    compile: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    minimum: Mapping[str, int] = field(default_factory=dict)
    compile_minimum: Mapping[str, int] = field(default_factory=dict)
    prestart: Prestart | None = None
