"""Requests that must be refused with 400, naming the field: rows S18 and S32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from executions.limits import LIMIT_NAMES
from executions.tests.suites.over_http import Refused, Server

SOURCE: dict[str, Any] = {"runtime": "python", "source": "print('never')"}
# As they stand in JSON; 1e308 and its like are numbers, but not whole ones.
BAD_LIMITS = (
    '0', '-1', '-0.0', '0.5', '1e308', '1e-9', '"5"', '""', 'true', '[]', '{}',
    '99999999999999999999', '"NaN"', '"Infinity"',
)  # fmt: skip
BAD_PATHS = (
    "../main.py",
    "a/../../main.py",
    "/etc/cron.d/suite",
    "..",
    ".",
    "",
    "a//b.py",
    "a/./b.py",
    "a/",
    "nul\0.py",
    "new\nline.py",
    "\x1b[31m.py",
    "x" * 4096,
    "/".join("x" * 40),
)
BAD_NAMES = (
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "PATH",
    "HOME",
    "TMPDIR",
    "BASH_ENV",
    "ENV",
    "IFS",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "NODE_OPTIONS",
    "JAVA_TOOL_OPTIONS",
    "PERL5OPT",
    "RUBYOPT",
    "GOFLAGS",
    "GCONV_PATH",
    "BASH_FUNC_ls%%",
    "A=B",
    "A B",
    "1A",
    "",
    "NUL\0",
    "Ü",
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A body, as raw JSON where no Python value makes it, and the field to be named."""

    id: str
    field: str
    body: Mapping[str, Any] | bytes


def refusals() -> Iterator[Refusal]:
    for name in LIMIT_NAMES:
        for number, value in enumerate(BAD_LIMITS):
            limits = f'{{"{name}": {value}}}'
            text = f'{{"runtime": "python", "source": "", "limits": {limits}}}'
            yield Refusal(f"S18-{name}-{number}", f"limits.{name}", text.encode())
    yield Refusal("S18-unknown", "limits.cpu", {**SOURCE, "limits": {"cpu": 5}})
    yield Refusal("S18-list", "limits", {**SOURCE, "limits": [1]})
    for number, path in enumerate(BAD_PATHS):
        files = [{"path": "main.py", "content": ""}, {"path": path, "content": ""}]
        body = {"runtime": "python", "files": files, "entry_point": "main.py"}
        yield Refusal(f"S32-path-{number}", "files", body)
    for number, name in enumerate(BAD_NAMES):
        yield Refusal(f"S32-env-{number}", "env", {**SOURCE, "env": {name: "x"}})
    yield Refusal("S32-arg-nul", "args", {**SOURCE, "args": ["a\0b"]})
    yield Refusal("S32-arg-type", "args", {**SOURCE, "args": [1]})
    yield Refusal("S32-args-text", "args", {**SOURCE, "args": "rm -rf /"})
    yield Refusal("S32-env-nul", "env", {**SOURCE, "env": {"A": "a\0b"}})
    yield Refusal("S32-runtime", "runtime", {**SOURCE, "runtime": "../python"})
    yield Refusal("S32-entry", "entry_point", {**SOURCE, "entry_point": "../x.py"})


def faults(server: Server) -> list[str]:
    """Send every one and return those that were not refused as they should be."""
    found = []
    for refusal in refusals():
        try:
            server.call("POST", "/api/v1/executions", refusal.body)
        except Refused as answer:
            text = answer.body.decode(errors="replace")
            if answer.status != 400 or f'"{refusal.field}' not in text:
                found.append(f"{refusal.id}: {answer.status} {text[:200]}")
        else:
            found.append(f"{refusal.id}: accepted")
    return found
