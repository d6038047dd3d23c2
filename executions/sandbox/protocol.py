"""Frames between a worker and the agent of a sandbox (docs/protocol.md).

A frame is two unsigned 32-bit big-endian lengths, a JSON object, and raw bytes. Both
sides check every frame they receive against the tables below: sizes before anything is
kept, then names, types and ranges. Standard library only, as the agent imports it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

VERSION = 1

MIB = 1024 * 1024
MAX_HEADER_BYTES = 4 * MIB
MAX_HELLO_BYTES = 4 * 1024
MAX_RUN_BODY_BYTES = 64 * MIB
MAX_CHUNK_BYTES = 64 * 1024
MAX_FILES = 1_000
MAX_CASES = 1_000
MAX_ARGS = 4_096
MAX_NAME_BYTES = 4_096
MAX_NUMBER = 2**53
MAX_KEY_CHARS = 200
MAX_SHORT_CHARS = 2_000
MAX_SIGNAL = 64
MAX_STATUS = 255
STDIN_WINDOW_BYTES = 1 * MIB
"""Live stdin that a follower may send before the agent says that it was taken."""

STREAMS = ("stdout", "stderr")
LIMITS = (
    "cpu_time_ms",
    "wall_time_ms",
    "memory_bytes",
    "output_bytes",
    "max_processes",
    "file_bytes",
    "scratch_bytes",
    "stack_bytes",
)

_PREFIX = struct.Struct(">II")
# Made once, and not for each text, as by json.dumps() and json.loads().
to_json = json.JSONEncoder(separators=(",", ":")).encode
_from_json = json.JSONDecoder().raw_decode
_JSON_SPACE = " \t\n\r"

Header = dict[str, Any]
Check = Callable[[Any], bool]


class ProtocolError(Exception):
    """The other side sent what the protocol does not allow."""


class Frame(NamedTuple):
    kind: str
    header: Header
    body: bytes


def is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_NUMBER


def is_text(value: Any) -> bool:
    """Whether this is a string that can be an argument: encodable, without NUL."""
    if type(value) is not str or "\0" in value:
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def is_path(value: Any) -> bool:
    """Whether this names a file below the scratch folder, in one way only."""
    if not is_text(value) or len(value) > MAX_NAME_BYTES:
        return False
    return all(part not in ("", ".", "..") for part in value.split("/"))


def _is_key(value: Any) -> bool:
    return (
        type(value) is str and 0 < len(value) <= MAX_KEY_CHARS and value.isprintable()
    )


def _optional(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _one_of(*allowed: str) -> Check:
    return lambda value: type(value) is str and value in allowed


def _list_of(check: Check, maximum: int) -> Check:
    return lambda value: (
        type(value) is list and len(value) <= maximum and all(map(check, value))
    )


def _object(fields: Mapping[str, Check]) -> Check:
    def check(value: Any) -> bool:
        if type(value) is not dict or value.keys() != fields.keys():
            return False
        for name, is_allowed in fields.items():  # noqa: SIM110 - a generator is slower
            if not is_allowed(value[name]):
                return False
        return True

    return check


def _is_env(value: Any) -> bool:
    return (
        type(value) is dict
        and len(value) <= MAX_ARGS
        and all(
            is_text(name) and name and "=" not in name and is_text(text)
            for name, text in value.items()
        )
    )


def _is_positive(value: Any) -> bool:
    return is_count(value) and value > 0


def _is_signal(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MAX_SIGNAL


def _is_status(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_STATUS


def _is_bool(value: Any) -> bool:
    return type(value) is bool


def _is_short(value: Any) -> bool:
    return type(value) is str and len(value) <= MAX_SHORT_CHARS


_ARGS = _list_of(is_text, MAX_ARGS)
_LIMITS = _object(dict.fromkeys(LIMITS, _is_positive))


def _is_argv(value: Any) -> bool:
    return _ARGS(value) and bool(value)


_COMMAND = _object({"argv": _is_argv, "env": _is_env, "limits": _LIMITS})
_FILE = _object({"path": is_path, "size": is_count})
_CASE = _object({"stdin_bytes": is_count, "args": _ARGS})


def _is_seen(value: Any) -> bool:
    return (
        type(value) is list and len(value) == len(STREAMS) and all(map(is_count, value))
    )


_KEPT = _object({"total": is_count, "head": is_count, "tail": is_count})

ENDS = (
    "exited",
    "signalled",
    "cpu_time",
    "wall_time",
    "memory",
    "output",
    "cancelled",
    "failed",
)
_STAGE = _one_of("compile", "run")
_STAGE_RESULT = _object(
    {
        "stage": _STAGE,
        "case": _optional(is_count),
        "end": _one_of(*ENDS),
        "exit_code": _optional(_is_status),
        "signal": _optional(_is_signal),
        "cpu_time_ms": is_count,
        "wall_time_ms": is_count,
        "memory_peak_bytes": is_count,
        "first_output_ms": _optional(is_count),
        "stdout": _KEPT,
        "stderr": _KEPT,
        "measured_by": _one_of("cgroup", "rusage"),
        "message": _is_short,
        "is_program_fault": _is_bool,
        "limits": _LIMITS,
    }
)


class Kind(NamedTuple):
    """What a frame of one kind carries: its header's fields and its body's bound."""

    fields: Mapping[str, Check]
    max_body_bytes: int = 0


class Kinds(dict[str, Kind]):
    """The frames that one side may send, by their name."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        super().__init__(kinds)
        self.max_body_bytes = max(kind.max_body_bytes for kind in kinds.values())


TO_AGENT = Kinds(
    {
        "hello": Kind({"token": _is_short}),
        "run": Kind(
            {
                "key": _is_key,
                "files": _list_of(_FILE, MAX_FILES),
                "compile": _optional(_COMMAND),
                "run": _COMMAND,
                "cases": _list_of(_CASE, MAX_CASES),
                "prestart": _optional(_is_short),
                "interactive": _is_bool,
            },
            MAX_RUN_BODY_BYTES,
        ),
        "attach": Kind({"key": _is_key, "seen": _list_of(_is_seen, MAX_CASES + 1)}),
        "stdin": Kind({}, MAX_CHUNK_BYTES),
        "close_stdin": Kind({}),
        "signal": Kind({"number": _is_signal}),
        "cancel": Kind({}),
        "ack": Kind({}),
    }
)

FROM_AGENT = Kinds(
    {
        "ready": Kind({"version": is_count}),
        "stage": Kind(
            {
                "n": is_count,
                "stage": _STAGE,
                "case": _optional(is_count),
                "wall_time_ms": _is_positive,
            }
        ),
        "output": Kind(
            {"n": is_count, "stream": _one_of(*STREAMS), "offset": is_count},
            MAX_CHUNK_BYTES,
        ),
        "stdin_taken": Kind({"total": is_count}),
        "result": Kind({"stages": _list_of(_STAGE_RESULT, MAX_CASES + 1)}),
        "error": Kind({"code": _is_short, "message": _is_short}),
    }
)


def encode(
    kind: str, header: Mapping[str, Any], body: bytes | bytearray = b""
) -> bytes:
    """Return one frame as bytes."""
    text = to_json({"kind": kind, **header}).encode()
    return b"".join((_PREFIX.pack(len(text), len(body)), text, body))


def _parsed(text: bytes) -> Any:
    """Return what a JSON text says. Raises ValueError and RecursionError."""
    # Lone surrogates pass, as with json.loads(): the checks judge them.
    chars = text.decode("utf-8", "surrogatepass").strip(_JSON_SPACE)
    value, end = _from_json(chars)
    if end != len(chars):
        raise ValueError("more than one value")
    return value


class Decoder:
    """Turns received bytes into checked frames of the given kinds.

    Raises ProtocolError on the first byte that cannot be right, before a frame that
    is too large was collected. Not usable afterwards.
    """

    def __init__(self, kinds: Kinds, *, is_stranger: bool = False) -> None:
        self._buffer = bytearray()
        self.allow(kinds)
        if is_stranger:
            # Room for a hello and nothing else, until allow() is called.
            self._max_header, self._max_body = MAX_HELLO_BYTES, 0

    def allow(self, kinds: Kinds) -> None:
        """Accept frames of these kinds with their own bounds from now on."""
        self._kinds = kinds
        self._max_header = MAX_HEADER_BYTES
        self._max_body = kinds.max_body_bytes

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take `data` and yield the frames that it completes."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= _PREFIX.size:
            header_size, body_size = _PREFIX.unpack_from(buffer, start)
            if header_size > self._max_header or body_size > self._max_body:
                raise ProtocolError("a frame is too large")
            body_at = start + _PREFIX.size + header_size
            if len(buffer) < body_at + body_size:
                break
            with memoryview(buffer) as view:
                text = bytes(view[start + _PREFIX.size : body_at])
                body = bytes(view[body_at : body_at + body_size])
            start = body_at + body_size
            yield self._frame(text, body)
        del buffer[:start]

    def _frame(self, text: bytes, body: bytes) -> Frame:
        try:
            header = _parsed(text)
        except (ValueError, RecursionError) as error:
            raise ProtocolError("a header is not JSON") from error
        if type(header) is not dict:
            raise ProtocolError("a header is not an object")
        name = header.pop("kind", None)
        kind = self._kinds.get(name) if type(name) is str else None
        if kind is None:
            raise ProtocolError("a frame of an unknown kind")
        if header.keys() != kind.fields.keys():
            raise ProtocolError(f"{name}: the fields are not those of the protocol")
        for field, check in kind.fields.items():
            if not check(header[field]):
                raise ProtocolError(f"{name}: {field} is not allowed")
        if len(body) > kind.max_body_bytes:
            raise ProtocolError(f"{name}: the body is too large")
        return Frame(str(name), header, body)
