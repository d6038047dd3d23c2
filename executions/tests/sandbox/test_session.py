"""What a session makes of an agent that does not keep to the protocol."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from executions.limits import Limits
from executions.sandbox.base import (
    End,
    Finished,
    NeverStarted,
    Output,
    OutputChunk,
    SandboxDetached,
    SandboxError,
    SandboxGone,
    SandboxUnavailable,
)
from executions.sandbox.protocol import STDIN_WINDOW_BYTES, TO_AGENT, Decoder, encode
from executions.sandbox.session import AgentSession, ConnectionLost
from executions.tests.sandbox.conftest import spec

READY = encode("ready", {"version": 1})
STAGE = encode("stage", {"n": 0, "stage": "run", "case": 0, "wall_time_ms": 1_000})


def output(data: bytes, offset: int = 0, n: int = 0, stream: str = "stdout") -> bytes:
    return encode("output", {"n": n, "stream": stream, "offset": offset}, data)


def stage_result(**changes: Any) -> dict[str, Any]:
    empty = {"total": 0, "head": 0, "tail": 0}
    return {
        "stage": "run",
        "case": 0,
        "end": "exited",
        "exit_code": 0,
        "signal": None,
        "cpu_time_ms": 1,
        "wall_time_ms": 2,
        "memory_peak_bytes": 3,
        "first_output_ms": None,
        "stdout": empty,
        "stderr": empty,
        "measured_by": "cgroup",
        "message": "",
        "is_program_fault": False,
        "limits": Limits().as_dict(),
        **changes,
    }


def result(*stages: dict[str, Any]) -> bytes:
    return encode("result", {"stages": list(stages or (stage_result(),))})


def kept(total: int, head: int, tail: int = 0) -> dict[str, int]:
    return {"total": total, "head": head, "tail": tail}


class Pair:
    """A session and the other end of its socket."""

    def __init__(self) -> None:
        ours, self.agent = socket.socketpair()
        self.agent.settimeout(10)
        self.session = AgentSession.start(ours, spec("x", limits={"output_bytes": 100}))

    def events(self, *frames: bytes) -> list[Any]:
        self.agent.sendall(b"".join(frames))
        return list(self.session.events())


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.agent.close()
    made.session.detach()


def test_session_builds_the_outcome_from_its_frames(pair: Pair) -> None:
    events = pair.events(
        READY,
        STAGE,
        output(b"abc"),
        output(b"E", stream="stderr"),
        output(b"def", 3),
        result(stage_result(stdout=kept(6, 6), stderr=kept(1, 1))),
    )

    assert [e.data for e in events if isinstance(e, OutputChunk)] == [
        b"abc",
        b"E",
        b"def",
    ]
    assert isinstance(events[-1], Finished)
    (case,) = events[-1].outcome.cases
    assert case.end is End.EXITED
    assert (case.stdout, case.stderr) == (Output(b"abcdef"), Output(b"E"))


def test_session_puts_head_and_tail_together(pair: Pair) -> None:
    events = pair.events(
        STAGE,
        output(b"h" * 75),
        output(b"t" * 25, 1_000 - 25),
        result(stage_result(stdout=kept(1_000, 75, 25))),
    )

    assert events[-1].outcome.cases[0].stdout == Output(b"h" * 75, b"t" * 25, 900)


def test_session_drops_what_came_live_before_the_cut(pair: Pair) -> None:
    events = pair.events(
        STAGE,
        output(b"h" * 75 + b"x" * 20),
        output(b"t" * 25, 1_000 - 25),
        result(stage_result(stdout=kept(1_000, 75, 25))),
    )

    assert events[-1].outcome.cases[0].stdout == Output(b"h" * 75, b"t" * 25, 900)


@pytest.mark.parametrize(
    "frames",
    [
        [b"HTTP/1.1 200 OK\r\n\r\n"],
        [encode("ready", {"version": 99})],
        [output(b"x")],
        [result()],
        [STAGE, STAGE],
        [encode("stage", {"n": 0, "stage": "run", "case": None, "wall_time_ms": 1})],
        [STAGE, output(b"x", n=1)],
        [STAGE, output(b"abc"), output(b"x", 2)],
        [STAGE, output(b"abc", 5), output(b"abc", 10)],
        [STAGE, output(b"x" * 200)],
        [STAGE, result(stage_result(), stage_result())],
        [STAGE, result(stage_result(case=1))],
        [STAGE, result(stage_result(stage="compile", case=None))],
        [STAGE, result(stage_result(exit_code=None))],
        [STAGE, result(stage_result(end="signalled"))],
        [STAGE, result(stage_result(end="cpu_time", signal=9, exit_code=None))],
        [STAGE, result(stage_result(stdout=kept(1, 1)))],
        [STAGE, output(b"abc"), result(stage_result(stdout=kept(2, 3)))],
        [STAGE, output(b"abc"), result(stage_result(stdout=kept(9, 3)))],
        [STAGE, encode("stdin_taken", {"total": 1})],
        [STAGE, encode("error", {"code": "odd", "message": "?"})],
    ],
)
def test_session_refuses_a_broken_agent(pair: Pair, frames: list[bytes]) -> None:
    with pytest.raises(SandboxError) as caught:
        pair.events(*frames)
    assert type(caught.value) is SandboxError


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("busy", SandboxUnavailable),
        ("unauthorized", SandboxUnavailable),
        ("unknown_key", SandboxGone),
        ("no_run", NeverStarted),
        ("replaced", SandboxDetached),
        ("bad_run", SandboxError),
    ],
)
def test_session_knows_the_agents_errors(
    pair: Pair, code: str, error: type[SandboxError]
) -> None:
    with pytest.raises(error) as caught:
        pair.events(READY, encode("error", {"code": code, "message": "words"}))
    assert type(caught.value) is error


def test_session_tells_a_sandbox_that_died(pair: Pair) -> None:
    pair.agent.sendall(READY + STAGE + output(b"x")[:-1])
    pair.agent.close()

    with pytest.raises(SandboxGone):
        list(pair.session.events())


class Breaking(socket.socket):
    """A socket whose peer the kernel's keepalive gives up."""

    def recv(self, *_: Any) -> bytes:
        raise OSError(errno.ETIMEDOUT, "Connection timed out")


def test_session_tells_a_lost_connection_from_a_silent_agent(pair: Pair) -> None:
    pair.session._sock = Breaking(fileno=pair.session._sock.detach())
    with pytest.raises(ConnectionLost, match="timed out"):
        list(pair.session.events())


def test_session_gives_up_a_silent_agent(pair: Pair) -> None:
    pair.session.patience_s = 0.2

    with pytest.raises(SandboxError, match="no sign of life"):
        pair.events(READY)


def test_session_cannot_be_started_over_a_closed_connection() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()

    with pytest.raises(SandboxUnavailable):
        AgentSession.start(ours, spec("x"))


def test_session_holds_back_input_until_it_is_taken(pair: Pair) -> None:
    def agent_reads(count: int) -> int:
        while len(taken) < count:
            for frame in decoder.feed(pair.agent.recv(65536)):
                taken.extend(frame.body if frame.kind == "stdin" else b"")
        return len(taken)

    decoder, taken = Decoder(TO_AGENT), bytearray()
    sender = threading.Thread(target=pair.session.send_stdin, args=(bytes(1_500_000),))
    sender.start()
    assert agent_reads(STDIN_WINDOW_BYTES) == STDIN_WINDOW_BYTES
    sender.join(10)

    def read_events() -> None:
        with contextlib.suppress(SandboxError):
            list(pair.session.events())

    reader = threading.Thread(target=read_events)
    reader.start()
    pair.agent.sendall(STAGE + encode("stdin_taken", {"total": 500_000}))
    assert agent_reads(1_500_000) == 1_500_000
    pair.agent.close()
    reader.join(10)


def test_session_refuses_input_without_end(pair: Pair) -> None:
    reader_gone = b"x" * 4_000_000
    pair.agent.close()

    with pytest.raises(BufferError):
        for _ in range(10):
            pair.session.send_stdin(reader_gone)
