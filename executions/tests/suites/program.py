"""One entry of the suites: a program, what it is given, and what must come of it.

A hostile program prints `ACHIEVED …` for every attempt that got through and `DONE` when
it came to its end, so that a program which never ran cannot pass as a refused one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from executions import runtimes
from executions.runtimes import build

HERE = Path(__file__).parent
MIB = 1024 * 1024
AMPLE_WALL_MS = 60_000


@dataclass(frozen=True, slots=True)
class Observed:
    """What the platform said about one program; streams are the kept bytes."""

    verdict: str
    reason: str = ""
    stdout: bytes = b""
    stderr: bytes = b""
    compile_stdout: bytes = b""
    compile_stderr: bytes = b""
    exit_code: int | None = None
    signal: int | None = None
    cpu_time_ms: int = 0
    wall_time_ms: int = 0
    memory_peak_bytes: int = 0
    stdout_dropped: int = 0
    stderr_dropped: int = 0
    raw: Mapping[str, object] = field(default_factory=dict)

    @property
    def text(self) -> bytes:
        """Everything that a user would be shown."""
        return b"\n".join(
            (
                self.stdout,
                self.stderr,
                self.compile_stdout,
                self.compile_stderr,
                self.reason.encode(),
            )
        )


Check = Callable[[Observed], "str | None"]
"""Returns what is wrong, or None."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program of the suites; `${name}` in args, env, stdin and sources is bait's.

    `source` is a file of the folder `suite`; `extra` maps further paths to files of the
    same folder or, as bytes, to their content. `after` names a program that must have
    ended before, `beside` one that must be running meanwhile. `copies` are run at once.
    `lets` are patterns of what a hostile one may achieve, as that is no escape there.
    `unboxed` programs are harmless without a sandbox, and then must not all pass.
    """

    id: str
    suite: str
    runtime: str
    source: str
    verdicts: tuple[str, ...] = ("ok",)
    extra: Mapping[str, str | bytes] = field(default_factory=dict)
    stdin: str | bytes = b""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    compile_limits: Mapping[str, int] = field(default_factory=dict)
    stdout: bytes | None = None
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    lets: tuple[str, ...] = ()
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    checks: tuple[Check, ...] = ()
    after: str = ""
    beside: str = ""
    copies: int = 1
    unboxed: bool = False
    root_only: bool = False

    @property
    def row(self) -> str:
        return self.id.split("-", 1)[0]

    def files(self, bait: Mapping[str, str]) -> dict[str, bytes]:
        """Return path → content; the first is the entry point."""
        source = _filled(_read(self.suite, self.source), bait)
        found = {build.own_name(runtimes.get(self.runtime), source): source}
        for path, content in self.extra.items():
            raw = content if isinstance(content, bytes) else _read(self.suite, content)
            found[path] = _filled(raw, bait)
        return found

    def given_limits(self) -> dict[str, int]:
        """Give ample wall time, as a busy machine is no program's fault."""
        return {"wall_time_ms": AMPLE_WALL_MS, **self.limits}

    def given_compile_limits(self) -> dict[str, int]:
        return {"wall_time_ms": AMPLE_WALL_MS, **self.compile_limits}

    def given_stdin(self, bait: Mapping[str, str]) -> bytes:
        if isinstance(self.stdin, bytes):
            return self.stdin
        return Template(self.stdin).safe_substitute(bait).encode()

    def given_args(self, bait: Mapping[str, str]) -> list[str]:
        return [Template(arg).safe_substitute(bait) for arg in self.args]

    def given_env(self, bait: Mapping[str, str]) -> dict[str, str]:
        # Whatever the program starts by exec can be told by this name on the host.
        env = {**self.env, "SUITE_ASKED_BY": "${nonce}"}
        return {k: Template(v).safe_substitute(bait) for k, v in env.items()}


def _read(suite: str, name: str) -> bytes:
    return (HERE / suite / name).read_bytes()


def _filled(source: bytes, bait: Mapping[str, str]) -> bytes:
    """Put bait paths into a source: `@@name@@`, as `$` is everyday text in programs."""
    for name, value in bait.items():
        source = source.replace(b"@@" + name.encode() + b"@@", value.encode())
    return source


def judge(program: Program, seen: Observed, secrets: Iterable[bytes]) -> list[str]:
    """Return everything in which `seen` differs from what `program` demands."""
    return [*_outcome_faults(program, seen), *_text_faults(program, seen, secrets)]


def _outcome_faults(program: Program, seen: Observed) -> list[str]:
    faults = []
    if seen.verdict not in program.verdicts:
        wanted = " or ".join(program.verdicts)
        faults.append(f"verdict {seen.verdict} ({seen.reason}), expected {wanted}")
    if program.exit_code is not None and seen.exit_code != program.exit_code:
        faults.append(f"exit code {seen.exit_code}, expected {program.exit_code}")
    if program.signal is not None and seen.signal != program.signal:
        faults.append(f"signal {seen.signal}, expected {program.signal}")
    if program.reason and program.reason not in seen.reason:
        faults.append(f"reason {seen.reason!r} does not say {program.reason!r}")
    for check in program.checks:
        if fault := check(seen):
            faults.append(fault)
    return faults


def _text_faults(
    program: Program, seen: Observed, secrets: Iterable[bytes]
) -> list[str]:
    faults = []
    if program.stdout is not None and seen.stdout != program.stdout:
        faults.append(
            f"stdout {_short(seen.stdout)}, expected {_short(program.stdout)}"
        )
    faults += [
        f"{text!r} not in stdout {_short(seen.stdout)}"
        for text in program.has
        if text.encode() not in seen.stdout
    ]
    faults += [
        f"{text!r} in the output"
        for text in program.lacks
        if text.encode() in seen.text
    ]
    if program.suite == "hostile":
        faults += [
            line.decode(errors="replace")[:160]
            for line in seen.text.splitlines()
            if line.startswith(b"ACHIEVED") and not _is_let(program, line)
        ]
    faults += ["a host secret was shown" for secret in secrets if secret in seen.text]
    return faults


def _is_let(program: Program, line: bytes) -> bool:
    what = line.decode(errors="replace").removeprefix("ACHIEVED ").rstrip()
    return any(re.fullmatch(pattern, what) for pattern in program.lets)


def _short(raw: bytes) -> str:
    return repr(raw if len(raw) <= 120 else raw[:60] + b" ... " + raw[-50:])
