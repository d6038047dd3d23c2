"""What a runtime is: one frozen value, declared in one file per language."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from executions.limits import MIB

# Below this not even a program of three lines starts, whatever it is written in.
SMALLEST: Mapping[str, int] = {"memory_bytes": 8 * MIB, "stack_bytes": 1 * MIB}

# Where sandboxes show what was prepared for the runtimes. It may be missing.
PREPARED = "/prepared"


@dataclass(frozen=True, slots=True)
class Prestart:
    """An interpreter that waits, already started, inside a warm jail.

    `argv` is executed in the jail ahead of time, with `env` added and `files` (name to
    text) in a folder of its own, for which `{folder}` stands in both. It removes that
    folder if it can, reads one JSON line from file descriptor 3 (`{"argv": [...],
    "env": {...}}`, argv[0] being the program's own file), closes the descriptor, and
    from there on is what `command` with these arguments would be. Only runs whose
    argument list begins with `command` are given to it; all others start afresh.
    `{memory_mib}` in both is filled in by build.prestarts. `bytecode`, filled in by
    bytecode.added_to, goes into the folder's __pycache__: name to content, as
    hexadecimal digits because it passes through JSON.
    """

    key: str
    argv: tuple[str, ...]
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    bytecode: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepare:
    """What makes a compiler faster once done, such as a filled build cache.

    `argv` is run by the operator, never with a submitted program in reach, in an empty
    folder with `files` in it. What it leaves in `{folder}` is what every sandbox then
    sees, read-only, as PREPARED/<key of the runtime>.
    """

    argv: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Runtime:
    """One language, as it is compiled and run in the scratch folder of a sandbox.

    `compile` and `run` are argument lists, never shell text, with the placeholders of
    runtimes.build; so are the values of `env`, for the program, and `compile_env`.
    `version` prints the version: it is the first number with a dot in the first line
    with a digit, else that whole line. `packages` are the Debian packages that bring
    the toolchain, `paths` the files and folders, or patterns of them, that it reads
    outside /usr, /bin and /lib. `files` are put beside those of the program. `minimum`
    and `compile_minimum` are the limits below which the runtime itself would fail or
    hang; lower requests are raised to them. `name_of` reads from the source what the
    program is called, where its file cannot have any name. `prepare` is what to do once
    on a machine (see runtimes.prepare) for speed alone. `profile` names the size of its
    pods: "large" where there is a compiler, unless said.
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
    compile_env: Mapping[str, str] = field(default_factory=dict)
    minimum: Mapping[str, int] = field(default_factory=dict)
    compile_minimum: Mapping[str, int] = field(default_factory=dict)
    prestart: Prestart | None = None
    paths: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    prepare: Prepare | None = None
    name_of: Callable[[str], str | None] | None = None
    profile: str = ""

    def __post_init__(self) -> None:
        for name in ("minimum", "compile_minimum"):
            object.__setattr__(self, name, {**SMALLEST, **getattr(self, name)})
        if not self.profile:
            profile = "large" if self.compile is not None else "small"
            object.__setattr__(self, "profile", profile)


def threads(fixed: int, per_cpu: int) -> int:
    """Return how many processes and threads a runtime needs on this machine.

    Garbage collectors, compilers and thread pools start some for each CPU, and below
    their number Node and Java hang instead of failing.
    """
    return fixed + per_cpu * (os.cpu_count() or 1)
