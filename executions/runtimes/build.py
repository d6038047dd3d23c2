"""Turns a program in some language into what a sandbox is told to do.

Placeholders in a runtime's argument lists:

- `{entry}`: the file that the program starts from; `{stem}`: it without its ending;
  `{dir}`: its folder.
- `{name}`: what Runtime.name_of found in the source, else the stem without its folder.
- `{memory_mib}`: the stage's memory limit; `{heap_mib}`: what a virtual machine that
  manages its own heap may use of it; `{soft_mib}`: from where on a runtime that can be
  told so clears away garbage in earnest.
- `{sources}`, as an argument of its own: every file with the entry's ending, the entry
  last; `{siblings}`: those of them in the entry's folder.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from executions import runtimes
from executions.limits import MIB, Limits
from executions.runtimes.base import Prestart, Runtime
from executions.sandbox.base import Case, Command, RunSpec, SourceFile

# Where a sandbox finds toolchains: never below a home folder.
SEARCH_PATH = "/usr/local/bin:/usr/local/go/bin:/usr/bin:/bin"

# JDK 17 prints "?" for anything but ASCII when the locale is not UTF-8.
BASE_ENV: Mapping[str, str] = {"PATH": SEARCH_PATH, "LANG": "C.UTF-8"}

# What the Java machine uses beside its heap: classes, code, thread stacks.
OFF_HEAP_MIB = 64
SMALLEST_HEAP_MIB = 16

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class UnknownEntry(ValueError):
    """The entry point is not one of the program's files."""


def own_name(runtime: Runtime, source: bytes) -> str:
    """Return what the file of a program has to be called that came without a name."""
    if runtime.name_of and (name := runtime.name_of(source.decode(errors="replace"))):
        ending = posixpath.splitext(runtime.source_name)[1]
        return name.rpartition(".")[2] + ending
    return runtime.source_name


def spec(  # noqa: PLR0913 - all but the first are named where it is called
    runtime: Runtime,
    *,
    key: str,
    files: Sequence[SourceFile],
    entry: str,
    limits: Limits,
    compile_limits: Limits,
    cases: Sequence[Case] = (Case(),),
    env: Mapping[str, str] | None = None,
    interactive: bool = False,
) -> RunSpec:
    """Return the RunSpec of a program; the arguments of a case follow the run command.

    `limits` and `compile_limits` are final: see limits.resolve. `env` adds to the
    runtime's environment and wins over it. Raises UnknownEntry.
    """
    values = _Values(runtime, files, entry)
    compiler = None
    if runtime.compile is not None:
        compiler = Command(
            values.fill(runtime.compile, compile_limits),
            compile_limits,
            {**BASE_ENV, **values.fill_env(runtime.compile_env, compile_limits)},
        )
    argv = values.fill(runtime.run, limits)
    variables = {**BASE_ENV, **values.fill_env(runtime.env, limits), **(env or {})}
    return RunSpec(
        key=key,
        files=(*files, *_brought(runtime, files)),
        compile=compiler,
        run=Command(argv, limits, variables),
        cases=tuple(cases),
        prestart=_prestart(runtime, files, argv, limits),
        profile=runtime.profile,
        interactive=interactive,
    )


def prestarts(limits: Limits) -> tuple[Prestart, ...]:
    """Return the interpreters to start ahead for runs that have these limits."""
    return tuple(
        _filled(runtime.prestart, limits)
        for runtime in runtimes.all()
        if runtime.prestart is not None
    )


def _filled(prestart: Prestart, limits: Limits) -> Prestart:
    return replace(
        prestart,
        argv=_with_memory(prestart.argv, limits),
        command=_with_memory(prestart.command, limits),
    )


def _with_memory(words: tuple[str, ...], limits: Limits) -> tuple[str, ...]:
    memory_mib = str(limits.memory_bytes // MIB)
    return tuple(word.replace("{memory_mib}", memory_mib) for word in words)


class _Values:
    """The values of the placeholders for one program."""

    def __init__(
        self, runtime: Runtime, files: Sequence[SourceFile], entry: str
    ) -> None:
        source = next((file for file in files if file.path == entry), None)
        if source is None:
            raise UnknownEntry(f"the entry point {entry} is not one of the files")
        stem, ending = posixpath.splitext(entry)
        name = None
        if runtime.name_of:
            name = runtime.name_of(source.content.decode(errors="replace"))
        others = [f.path for f in files if f.path != entry and f.path.endswith(ending)]
        folder = posixpath.dirname(entry)
        near = [path for path in others if posixpath.dirname(path) == folder]
        self.lists = {
            "{sources}": tuple(_plain(path) for path in (*others, entry)),
            "{siblings}": tuple(_plain(path) for path in (*near, entry)),
        }
        self.words = {
            "entry": _plain(entry),
            "stem": _plain(stem),
            "dir": _plain(folder) or ".",
            "name": name or posixpath.basename(stem),
        }

    def fill(self, template: tuple[str, ...], limits: Limits) -> tuple[str, ...]:
        argv: list[str] = []
        for word in template:
            if word in self.lists:
                argv += self.lists[word]
            else:
                argv.append(self._filled(word, limits))
        return tuple(argv)

    def fill_env(self, template: Mapping[str, str], limits: Limits) -> dict[str, str]:
        return {name: self._filled(text, limits) for name, text in template.items()}

    def _filled(self, text: str, limits: Limits) -> str:
        if "{" not in text:
            return text  # most of them: a third of the time that a spec takes
        memory_mib = limits.memory_bytes // MIB
        words = self.words | {
            "memory_mib": str(max(1, memory_mib)),
            "heap_mib": str(max(SMALLEST_HEAP_MIB, memory_mib - OFF_HEAP_MIB)),
            "soft_mib": str(max(1, memory_mib * 7 // 8)),
        }
        return _PLACEHOLDER.sub(lambda match: words[match[1]], text)


def _plain(path: str) -> str:
    # A file called -flag is a file, not an option.
    return os.curdir + "/" + path if path.startswith("-") else path


def _brought(runtime: Runtime, files: Sequence[SourceFile]) -> Iterator[SourceFile]:
    theirs = {file.path for file in files}
    for path, text in runtime.files.items():
        if path not in theirs:
            yield SourceFile(path, text.encode())


def _prestart(
    runtime: Runtime,
    files: Sequence[SourceFile],
    argv: tuple[str, ...],
    limits: Limits,
) -> str | None:
    """Name the warm interpreter for a program that is like most: one plain script."""
    warm = runtime.prestart
    if warm is None:
        return None
    command = _with_memory(warm.command, limits)
    if argv[: len(command)] != command:
        return None
    # package.json can make every .js file an ECMAScript module, which starts otherwise.
    special = any(posixpath.basename(file.path) == "package.json" for file in files)
    return None if special else warm.key
