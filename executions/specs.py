"""A submission after validation: what every way in (API, page, command) hands over.

Free of Django: what may be submitted is told by a Rules value (see rules.current).
Every refusal names the field and, where there is one, the limit.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from executions import limits, runtimes
from executions.limits import KIB, MIB, Limits
from executions.runtimes import build
from executions.runtimes.base import Runtime
from executions.sandbox.base import SourceFile

FIELDS = (
    "runtime",
    "source",
    "files",
    "entry_point",
    "stdin",
    "stdin_base64",
    "args",
    "env",
    "limits",
    "compile_limits",
)
FILE_FIELDS = ("path", "content", "encoding")
ENCODINGS = ("utf-8", "base64")
MAX_PATH_BYTES = 255
MAX_PATH_DEPTH = 16
# More would only make a refusal long, never clearer.
MAX_REPORTED_FIELDS = 20
MAX_SHOWN_CHARACTERS = 60

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
# The program may set any of these for its own children. Here they would change how the
# platform starts the interpreter, or be ignored by one that is already running.
REFUSED_ENV_PREFIXES = (
    "BASH_",
    "DYLD_",
    "GLIBC_",
    "JAVA_",
    "JDK_",
    "LD_",
    "LUA_",
    "MALLOC_",
    "NODE_",
    "PERL5",
    "PHP",
    "PYTHON",
    "RUBY",
    "_JAVA_",
)
REFUSED_ENV_NAMES = frozenset(
    (
        "BASHOPTS",
        "CLASSPATH",
        "ENV",
        "GCONV_PATH",
        "GOFLAGS",
        "HOME",
        "HOSTALIASES",
        "IFS",
        "LOCPATH",
        "NLSPATH",
        "PATH",
        "PERLLIB",
        "PS4",
        "SHELL",
        "SHELLOPTS",
        "TMPDIR",
    )
)


class InvalidSubmission(ValueError):
    """Refused; `fields` maps dotted field names to messages that name the limit.

    `is_excess` tells that nothing was wrong but that it was too much.
    """

    def __init__(
        self, errors: Mapping[str, list[str]], *, is_excess: bool = False
    ) -> None:
        super().__init__("; ".join(m for messages in errors.values() for m in messages))
        self.fields = dict(errors)
        self.is_excess = is_excess


@dataclass(frozen=True, slots=True)
class Submission:
    """A valid program, with its effective limits; built by specs.validate only."""

    runtime: str
    entry_point: str
    files: tuple[SourceFile, ...]
    limits: Limits
    compile_limits: Limits
    stdin: bytes = b""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


def _never_missing(_runtime: Runtime) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Rules:
    """How much one submission may hold. Sizes are bytes after decoding."""

    max_files: int = 64
    max_source_bytes: int = 1 * MIB
    max_stdin_bytes: int = 1 * MIB
    max_args: int = 64
    max_args_bytes: int = 32 * KIB
    max_env: int = 64
    max_env_bytes: int = 32 * KIB
    default_limits: Limits = field(default_factory=Limits)
    maximum_limits: Limits = field(default_factory=Limits)
    default_compile_limits: Limits = field(default_factory=Limits)
    maximum_compile_limits: Limits = field(default_factory=Limits)
    missing: Callable[[Runtime], str | None] = _never_missing
    """Tells, in plain words, what keeps a known runtime from being used here."""


class _Errors(dict[str, list[str]]):
    is_excess = True

    def add(self, name: str, message: str, *, is_excess: bool = False) -> None:
        self.is_excess = self.is_excess and is_excess
        if name in self or len(self) < MAX_REPORTED_FIELDS:
            self.setdefault(name, []).append(message)

    def add_excess(self, name: str, maximum: int, unit: str) -> None:
        short_name = name.rsplit(".", 1)[-1]
        message = f"{short_name} may be at most {maximum} {unit}"
        self.add(name, message, is_excess=True)


def validate(data: Mapping[str, Any], *, rules: Rules) -> Submission:
    """Return what was submitted, or raise InvalidSubmission naming every bad field.

    `data` has the fields of the API's submission (see docs/api.md); its values may be
    of any type and size. Touches neither database nor disk.
    """
    errors = _Errors()
    for name in data:
        if name not in FIELDS:
            errors.add(shown(name), "is not a field of a submission")
    runtime = _runtime(data.get("runtime"), rules, errors)
    files, entry_point = _program(data, runtime, rules, errors)
    stdin = _stdin(data, rules, errors)
    args = _args(data.get("args"), rules, errors)
    env = _env(data.get("env"), rules, errors)
    run_limits = _limits(data, "limits", runtime, rules, errors)
    compile_limits = _limits(data, "compile_limits", runtime, rules, errors)
    if errors or runtime is None or run_limits is None or compile_limits is None:
        raise InvalidSubmission(errors, is_excess=errors.is_excess)
    return Submission(
        runtime=runtime.key,
        entry_point=entry_point,
        files=files,
        limits=run_limits,
        compile_limits=compile_limits,
        stdin=stdin,
        args=args,
        env=env,
    )


def shown(value: object) -> str:
    """Return a piece of foreign input so that it can stand in a message or a log."""
    text = str(value)[:MAX_SHOWN_CHARACTERS]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def text_problem(value: object, *, nul: bool) -> str | None:
    """Tell what keeps `value` from being stored as text; NUL counts unless `nul`."""
    if not isinstance(value, str):
        return "must be a string"
    if not nul and "\0" in value:
        return "may not contain NUL"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "may not contain half of a surrogate pair"
    return None


def _runtime(value: Any, rules: Rules, errors: _Errors) -> Runtime | None:
    if value is None:
        errors.add("runtime", "is required")
        return None
    if problem := text_problem(value, nul=False):
        errors.add("runtime", problem)
        return None
    try:
        runtime = runtimes.get(value)
    except runtimes.UnknownRuntime:
        errors.add(
            "runtime", f"'{shown(value)}' is not a runtime; see /api/v1/runtimes"
        )
        return None
    if problem := rules.missing(runtime):
        errors.add("runtime", problem)
    return runtime


def _program(
    data: Mapping[str, Any], runtime: Runtime | None, rules: Rules, errors: _Errors
) -> tuple[tuple[SourceFile, ...], str]:
    source, listed = data.get("source"), data.get("files")
    entry_point = data.get("entry_point")
    if entry_point is not None and (problem := path_problem(entry_point)):
        errors.add("entry_point", problem)
        entry_point = None
    if (source is None) == (listed is None):
        errors.add("source", "source or files is required, and not both")
        return (), ""
    if listed is None:
        content = _content(source, "utf-8", "source", errors) or b""
        name = entry_point or _own_name(runtime, content)
        return _within((SourceFile(name, content),), "source", rules, errors), name
    files = _within(_files(listed, rules, errors), "files", rules, errors)
    return files, _entry_point(entry_point, files, runtime, errors)


def _own_name(runtime: Runtime | None, content: bytes) -> str:
    """Return what the runtime calls a program that came without a name."""
    if runtime is None:
        return ""
    name = build.own_name(runtime, content)
    return runtime.source_name if path_problem(name) else name


def _within(
    files: tuple[SourceFile, ...], name: str, rules: Rules, errors: _Errors
) -> tuple[SourceFile, ...]:
    if sum(len(file.content) for file in files) > rules.max_source_bytes:
        errors.add_excess(name, rules.max_source_bytes, "bytes")
    return files


def _files(listed: Any, rules: Rules, errors: _Errors) -> tuple[SourceFile, ...]:
    if not isinstance(listed, list) or not listed:
        errors.add("files", "must be a list of at least one file")
        return ()
    if len(listed) > rules.max_files:
        errors.add_excess("files", rules.max_files, "files")
        return ()
    files = []
    for index, item in enumerate(listed):
        if (file := _file(item, f"files.{index}", errors)) is not None:
            files.append(file)
    _refuse_clashes(files, errors)
    return tuple(files)


def _file(item: Any, name: str, errors: _Errors) -> SourceFile | None:
    if not isinstance(item, dict):
        errors.add(name, "must be an object with path and content")
        return None
    for key in item:
        if key not in FILE_FIELDS:
            errors.add(f"{name}.{shown(key)}", "is not a field of a file")
    encoding = item.get("encoding", "utf-8")
    if encoding not in ENCODINGS:
        errors.add(f"{name}.encoding", f"must be one of {', '.join(ENCODINGS)}")
        return None
    if problem := path_problem(item.get("path")):
        errors.add(f"{name}.path", problem)
        return None
    content = _content(item.get("content"), encoding, f"{name}.content", errors)
    return None if content is None else SourceFile(item["path"], content)


def _refuse_clashes(files: list[SourceFile], errors: _Errors) -> None:
    paths = {file.path for file in files}
    if len(paths) < len(files):
        errors.add("files", "two files may not have the same path")
    for path in paths:
        parts = path.split("/")
        if any("/".join(parts[:end]) in paths for end in range(1, len(parts))):
            errors.add("files", f"'{path}' lies in a folder that is also a file")


def _entry_point(
    wanted: str | None,
    files: tuple[SourceFile, ...],
    runtime: Runtime | None,
    errors: _Errors,
) -> str:
    paths = [file.path for file in files]
    if wanted is None and len(paths) == 1:
        return paths[0]
    if wanted is None and runtime is not None and runtime.source_name in paths:
        return runtime.source_name
    if wanted is not None and wanted in paths:
        return wanted
    if paths and "entry_point" not in errors:
        errors.add("entry_point", "must be the path of one of the files")
    return ""


def path_problem(path: object) -> str | None:
    """Tell why `path` may not name a file of a program, or return None."""
    if problem := text_problem(path, nul=False):
        return problem
    assert isinstance(path, str)  # noqa: S101 (text_problem has looked)
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"may be at most {MAX_PATH_BYTES} bytes"
    if not path.isprintable() or "\\" in path:
        return "may not contain control characters, invisible characters or backslashes"
    parts = path.split("/")
    if path.startswith("-") or any(part in ("", ".", "..") for part in parts):
        return "must be a relative path without empty, '.' or '..' parts or leading '-'"
    if len(parts) > MAX_PATH_DEPTH:
        return f"may be at most {MAX_PATH_DEPTH} folders deep"
    return None


def _content(value: Any, encoding: str, name: str, errors: _Errors) -> bytes | None:
    """Return the bytes that `value` stands for, or None after adding an error."""
    if problem := text_problem(value, nul=True):
        errors.add(name, problem)
        return None
    text: str = value
    if encoding != "base64":
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        errors.add(name, "is not valid base64")
        return None


def _stdin(data: Mapping[str, Any], rules: Rules, errors: _Errors) -> bytes:
    text, encoded = data.get("stdin"), data.get("stdin_base64")
    if text is not None and encoded is not None:
        errors.add("stdin", "may not be given together with stdin_base64")
        return b""
    if text is None and encoded is None:
        return b""
    name, encoding = (
        ("stdin", "utf-8") if encoded is None else ("stdin_base64", "base64")
    )
    value = text if encoded is None else encoded
    content = _content(value, encoding, name, errors)
    if content is not None and len(content) > rules.max_stdin_bytes:
        errors.add_excess(name, rules.max_stdin_bytes, "bytes")
    return content or b""


def _args(value: Any, rules: Rules, errors: _Errors) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        errors.add("args", "must be a list of strings")
        return ()
    if len(value) > rules.max_args:
        errors.add_excess("args", rules.max_args, "arguments")
        return ()
    for index, item in enumerate(value):
        if problem := text_problem(item, nul=False):
            errors.add(f"args.{index}", problem)
            return ()
    if sum(len(item.encode()) for item in value) > rules.max_args_bytes:
        errors.add_excess("args", rules.max_args_bytes, "bytes")
    return tuple(value)


def _env(value: Any, rules: Rules, errors: _Errors) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        errors.add("env", "must be an object of strings")
        return {}
    if len(value) > rules.max_env:
        errors.add_excess("env", rules.max_env, "variables")
        return {}
    for name, text in value.items():
        if problem := env_name_problem(name) or text_problem(text, nul=False):
            errors.add(f"env.{shown(name)}", problem)
            return {}
    size = sum(len(n) + len(text.encode()) for n, text in value.items())
    if size > rules.max_env_bytes:
        errors.add_excess("env", rules.max_env_bytes, "bytes")
    return value


def env_name_problem(name: str) -> str | None:
    """Tell why `name` may not be set for a program, or return None."""
    if not ENV_NAME.fullmatch(name):
        return "is not a name of letters, digits and underscores (at most 100)"
    if name in REFUSED_ENV_NAMES or name.startswith(REFUSED_ENV_PREFIXES):
        return "is set by the platform and may not be changed"
    return None


def _limits(
    data: Mapping[str, Any],
    name: str,
    runtime: Runtime | None,
    rules: Rules,
    errors: _Errors,
) -> Limits | None:
    requested = data.get(name)
    if requested is None:
        requested = {}
    if not isinstance(requested, dict):
        errors.add(name, "must be an object of whole numbers")
        return None
    compiling = name == "compile_limits"
    default = rules.default_compile_limits if compiling else rules.default_limits
    maximum = rules.maximum_compile_limits if compiling else rules.maximum_limits
    minimum: Mapping[str, int] = {}
    if runtime is not None:
        minimum = runtime.compile_minimum if compiling else runtime.minimum
    try:
        return limits.resolve(
            requested, default=default, maximum=maximum, minimum=minimum
        )
    except limits.InvalidLimits as refused:
        for key, messages in refused.fields.items():
            value = requested[key]
            most = maximum.as_dict().get(key)
            is_excess = type(value) is int and most is not None and value > most
            for message in messages:
                text = message if message.isprintable() else f"{shown(key)} is unknown"
                errors.add(f"{name}.{shown(key)}", text, is_excess=is_excess)
        return None
