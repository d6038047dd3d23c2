from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions.limits import LIMIT_NAMES
from executions.sandbox import protocol
from executions.sandbox.base import End
from executions.sandbox.protocol import (
    FROM_AGENT,
    MAX_CHUNK_BYTES,
    MAX_HEADER_BYTES,
    TO_AGENT,
    Decoder,
    Frame,
    ProtocolError,
    encode,
)

COMMAND = {
    "argv": ["python3", "main.py"],
    "env": {"A": "b"},
    "limits": dict.fromkeys(protocol.LIMITS, 1),
}
RUN = {
    "key": "x-1",
    "files": [{"path": "a/b.py", "size": 2}],
    "compile": None,
    "run": COMMAND,
    "cases": [{"stdin_bytes": 1, "args": []}],
    "prestart": None,
    "interactive": False,
}


def raw(header: object, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack(">II", len(text), len(body)) + text + body


def decode(data: bytes, kinds: Any = TO_AGENT) -> list[Frame]:
    return list(Decoder(kinds).feed(data))


def test_decoder_gives_back_what_was_encoded() -> None:
    data = encode("run", RUN, b"abc") + encode("cancel", {})

    assert decode(data) == [Frame("run", RUN, b"abc"), Frame("cancel", {}, b"")]


def test_decoder_takes_frames_in_any_pieces() -> None:
    data = encode("output", {"n": 0, "stream": "stdout", "offset": 7}, b"\0\xff" * 9)
    data += encode("stdin_taken", {"total": 3})
    for size in range(1, len(data)):
        decoder = Decoder(FROM_AGENT)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]

        frames = [frame for piece in pieces for frame in decoder.feed(piece)]

        assert [frame.kind for frame in frames] == ["output", "stdin_taken"]
        assert frames[0].body == b"\0\xff" * 9


@pytest.mark.parametrize(
    ("header", "body"),
    [(MAX_HEADER_BYTES + 1, 0), (2, MAX_CHUNK_BYTES + 1), (0xFFFFFFFF, 0)],
)
def test_decoder_refuses_a_large_frame_by_its_lengths(header: int, body: int) -> None:
    with pytest.raises(ProtocolError, match="too large"):
        decode(struct.pack(">II", header, body), FROM_AGENT)


def test_decoder_bounds_the_body_of_each_kind() -> None:
    with pytest.raises(ProtocolError, match="stdin: the body"):
        decode(encode("stdin", {}, bytes(MAX_CHUNK_BYTES + 1)))


def test_decoder_bounds_strangers_until_they_are_allowed() -> None:
    for data in (encode("stdin", {}, b"x"), encode("hello", {"token": "x" * 4096})):
        with pytest.raises(ProtocolError, match="too large"):
            list(Decoder(TO_AGENT, is_stranger=True).feed(data))

    decoder = Decoder(TO_AGENT, is_stranger=True)
    assert list(decoder.feed(encode("hello", {"token": "x"})))
    decoder.allow(TO_AGENT)
    assert list(decoder.feed(encode("stdin", {}, b"x")))


@pytest.mark.parametrize(
    "header",
    [
        [],
        "cancel",
        {"kind": "explode"},
        {"kind": ["cancel"]},
        {"kind": "cancel", "more": 1},
        {"kind": "signal"},
        {"kind": "signal", "number": 0},
        {"kind": "signal", "number": 65},
        {"kind": "signal", "number": True},
        {"kind": "signal", "number": 9.0},
        {"kind": "signal", "number": float("nan")},
        {"kind": "attach", "key": "", "seen": []},
        {"kind": "attach", "key": "a\nb", "seen": []},
        {"kind": "attach", "key": "a", "seen": [[-1, 0]]},
        {"kind": "attach", "key": "a", "seen": [[1]]},
        {"kind": "attach", "key": "a", "seen": [[]]},
    ],
)
def test_decoder_refuses_a_wrong_header(header: object) -> None:
    with pytest.raises(ProtocolError):
        decode(raw(header))


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"[" * 100_000, b"9" * 5_000])
def test_decoder_refuses_what_is_not_json(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(struct.pack(">II", len(text), 0) + text)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\0b", "\ud800", 7],
)
def test_run_refuses_a_path_that_leaves_the_scratch_folder(path: object) -> None:
    with pytest.raises(ProtocolError, match="files"):
        decode(raw({"kind": "run", **RUN, "files": [{"path": path, "size": 0}]}))


@pytest.mark.parametrize("path", ["a", "-flag", "a b/\u00e9", "...", "x" * 4096])
def test_run_takes_odd_but_harmless_paths(path: str) -> None:
    assert decode(raw({"kind": "run", **RUN, "files": [{"path": path, "size": 0}]}))


@pytest.mark.parametrize(
    "change",
    [
        {"argv": []},
        {"argv": ["a\0"]},
        {"argv": "python3"},
        {"env": {"A=B": "c"}},
        {"env": {"": "c"}},
        {"env": {"A": None}},
        {"limits": {**COMMAND["limits"], "memory_bytes": 0}},  # type: ignore[dict-item]
        {"limits": {**COMMAND["limits"], "more": 1}},  # type: ignore[dict-item]
        {"limits": {"memory_bytes": 1}},
    ],
)
def test_run_refuses_a_wrong_command(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="run"):
        decode(raw({"kind": "run", **RUN, "run": {**COMMAND, **change}}))


@given(st.binary(max_size=200))
def test_decoder_survives_any_bytes(data: bytes) -> None:
    for kinds in (TO_AGENT, FROM_AGENT):
        with contextlib.suppress(ProtocolError):
            assert decode(data, kinds) == []


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner),
    ),
    st.sampled_from(sorted(FROM_AGENT)),
)
def test_decoder_survives_any_field(value: object, kind: str) -> None:
    fields = dict.fromkeys(FROM_AGENT[kind].fields, value)
    try:
        frames = decode(raw({"kind": kind, **fields}), FROM_AGENT)
    except ProtocolError:
        return
    assert [frame.kind for frame in frames] == [kind]


def test_protocol_knows_the_limits_and_ends_of_the_platform() -> None:
    # The agent cannot import these, so they are written down twice.
    assert protocol.LIMITS == LIMIT_NAMES
    assert tuple(End) == protocol.ENDS
