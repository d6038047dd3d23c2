"""The worker's side of a connection to an agent.

Whatever comes from the agent is untrusted: the hostile program shares its uid. Frames
are checked by protocol.py, their order and amounts here; a silent agent is given up.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from executions.limits import Limits
from executions.sandbox.base import (
    Command,
    End,
    Event,
    Finished,
    NeverStarted,
    Outcome,
    Output,
    OutputChunk,
    RunSpec,
    SandboxDetached,
    SandboxError,
    SandboxGone,
    SandboxUnavailable,
    StageOutcome,
    StageStarted,
)
from executions.sandbox.protocol import (
    FROM_AGENT,
    MAX_CHUNK_BYTES,
    STDIN_WINDOW_BYTES,
    STREAMS,
    VERSION,
    Decoder,
    Frame,
    ProtocolError,
    encode,
)

_RECEIVE_BYTES = 256 * 1024
_LONGEST_WALL_MS = 24 * 3600 * 1000
_SEND_TIMEOUT_S = 30.0
_MAX_STDIN_WAITING_BYTES = 16 * 1024 * 1024
_UNAVAILABLE = ("busy", "unauthorized")


class ConnectionLost(SandboxGone):
    """Nothing more comes over this connection; whether the sandbox lives is open."""


class _Stream:
    """What came of one stream of one stage: a beginning and, after a gap, an end."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.end = 0
        self.has_gap = False
        self._before_gap = 0

    def add(self, offset: int, data: bytes) -> None:
        if offset < self.end or (self.has_gap and offset != self.end):
            raise ProtocolError("output does not follow what came before")
        if offset > self.end:
            self.has_gap = True
            self._before_gap = len(self.data)
        self.data += data
        self.end = offset + len(data)

    def so_far(self) -> Output:
        """Return what there is of a stream whose end may never come."""
        cut = self._before_gap if self.has_gap else len(self.data)
        head, tail = bytes(self.data[:cut]), bytes(self.data[cut:])
        return Output(head, tail, self.end - len(self.data))

    def output(self, total: int, head: int, tail: int) -> Output:
        dropped = total - head - tail
        if dropped < 0 or len(self.data) < head + tail or self.end != total:
            raise ProtocolError("a result does not match its output")
        with memoryview(self.data) as data:
            kept = Output(bytes(data[:head]), bytes(data[len(data) - tail :]), dropped)
        # Megabytes that nobody needs twice while the outcome is stored.
        self.data = bytearray()
        return kept


class _Stage:
    def __init__(self, name: str, case: int | None) -> None:
        self.name = name
        self.case = case
        self.streams = {stream: _Stream() for stream in STREAMS}


class AgentSession:
    """A base.Session over a connected stream socket, unix or TCP.

    Owns the socket. `unenforced` is what the backend knows about this sandbox and goes
    into the outcome.
    """

    patience_s = 30.0
    """How long the agent may be silent, beyond the wall time of its stage."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        unenforced: Sequence[str] = (),
        spec: RunSpec | None = None,
    ) -> None:
        self._sock = sock
        self._spec = spec
        self._unenforced = tuple(unenforced)
        self._is_detached = False
        self._is_finished = False
        self._stages: list[_Stage] = []
        self._send_lock = threading.Lock()
        self._stdin = bytearray()
        self._stdin_sent = 0
        self._stdin_taken = 0
        self._is_stdin_ending = False
        # The longest output that the agent may send for one stream.
        self._max_output = _max_output(spec)

    # --- how one begins --------------------------------------------------------------

    @classmethod
    def start(
        cls,
        sock: socket.socket,
        spec: RunSpec,
        *,
        token: str | None = None,
        unenforced: Sequence[str] = (),
    ) -> AgentSession:
        """Send the run, without waiting for an answer: what is wrong, events() raises.

        Raises SandboxUnavailable when it could not be sent as a whole: nothing ran.
        """
        session = cls(sock, unenforced=unenforced, spec=spec)
        session._open(_hello(token) + _run_frame(spec))
        return session

    @classmethod
    def attach(
        cls,
        sock: socket.socket,
        key: str,
        *,
        token: str | None = None,
        unenforced: Sequence[str] = (),
    ) -> AgentSession:
        """Follow the run `key` of this agent from its beginning.

        Raises SandboxGone when it has hung up, so does events() if the agent has
        another run, or none; SandboxUnavailable when it does not listen.
        """
        session = cls(sock, unenforced=unenforced)
        try:
            session._open(_hello(token) + encode("attach", {"key": key, "seen": []}))
        except SandboxUnavailable as error:
            if isinstance(error.__cause__, BrokenPipeError | ConnectionResetError):
                raise ConnectionLost("the sandbox closed the connection") from error
            raise
        return session

    def _open(self, data: bytes) -> None:
        self._sock.settimeout(_SEND_TIMEOUT_S)
        try:
            self._sock.sendall(data)
        except OSError as error:
            self._sock.close()
            message = f"the sandbox does not take the run: {error}"
            raise SandboxUnavailable(message) from error

    # --- what the agent tells --------------------------------------------------------

    def events(self) -> Iterator[Event]:
        """See base.Session. An agent that breaks the protocol is a SandboxError."""
        decoder = Decoder(FROM_AGENT)
        give_up_at = time.monotonic() + self.patience_s
        while not self._is_finished:
            data = self._receive(give_up_at)
            try:
                for frame in decoder.feed(data):
                    if frame.kind == "stage":
                        wall_ms = min(frame.header["wall_time_ms"], _LONGEST_WALL_MS)
                        wall_s = wall_ms / 1000
                        give_up_at = time.monotonic() + wall_s + self.patience_s
                    event = self._event(frame)
                    if event is not None:
                        yield event
            except ProtocolError as error:
                raise SandboxError(f"the agent broke the protocol: {error}") from error

    def _receive(self, give_up_at: float) -> bytes:
        try:
            # Never 0: that would make the socket non-blocking.
            self._sock.settimeout(max(give_up_at - time.monotonic(), 0.001))
            data = self._sock.recv(_RECEIVE_BYTES)
        except OSError as error:
            self._raise_if_detached()
            # Our own patience has no number; that of the kernel's keepalive has one.
            if isinstance(error, TimeoutError) and error.errno is None:
                message = "the sandbox gave no sign of life in time"
                raise SandboxError(message) from error
            raise ConnectionLost(
                f"the connection to the sandbox broke: {error}"
            ) from error
        if not data:
            self._raise_if_detached()
            raise ConnectionLost("the sandbox closed the connection")
        return data

    def _raise_if_detached(self) -> None:
        if self._is_detached:
            raise SandboxDetached

    def _event(self, frame: Frame) -> Event | None:
        header = frame.header
        if frame.kind == "output":
            return self._chunk(header, frame.body)
        if frame.kind == "stage":
            return self._stage(header)
        if frame.kind == "result":
            return self._result(header["stages"])
        if frame.kind == "error":
            self._raise(header["code"], header["message"])
        if frame.kind == "stdin_taken":
            self._stdin_was_taken(header["total"])
        elif header["version"] != VERSION:
            raise ProtocolError(f"it speaks version {header['version']}")
        return None

    def _raise(self, code: str, message: str) -> None:
        self._raise_if_detached()
        if code == "replaced":
            raise SandboxDetached(message)
        if code == "no_run" and not self._stages:
            raise NeverStarted(message)
        if code in ("no_run", "unknown_key"):
            raise SandboxGone(message)
        if code in _UNAVAILABLE and not self._stages:
            raise SandboxUnavailable(message)
        raise SandboxError(f"{code}: {message}")

    def _stage(self, header: dict[str, Any]) -> StageStarted:
        n, name, case = header["n"], header["stage"], header["case"]
        if n != len(self._stages) or (case is None) != (name == "compile"):
            raise ProtocolError("a stage out of order")
        self._stages.append(_Stage(name, case))
        return StageStarted(name, case)

    def _chunk(self, header: dict[str, Any], data: bytes) -> OutputChunk:
        if header["n"] != len(self._stages) - 1:
            raise ProtocolError("output of another stage")
        stage, stream = self._stages[-1], header["stream"]
        kept = stage.streams[stream]
        kept.add(header["offset"], data)
        if len(kept.data) > self._max_output:
            raise ProtocolError("more output than was asked for")
        return OutputChunk(stage.name, stage.case, stream, header["offset"], data)

    def _result(self, results: list[dict[str, Any]]) -> Finished:
        if len(results) != len(self._stages):
            raise ProtocolError("a result for another number of stages")
        self._is_finished = True
        outcomes = [
            _outcome(stage, result)
            for stage, result in zip(self._stages, results, strict=True)
        ]
        has_build = bool(self._stages) and self._stages[0].name == "compile"
        return Finished(
            Outcome(
                compile=outcomes[0] if has_build else None,
                cases=tuple(outcomes[1:] if has_build else outcomes),
                unenforced=self._unenforced,
            )
        )

    def received(self) -> tuple[Output, Output]:
        """Return both streams of the last stage as far as they have come."""
        if not self._stages:
            return Output(), Output()
        streams = self._stages[-1].streams
        return streams["stdout"].so_far(), streams["stderr"].so_far()

    # --- what the agent is told ------------------------------------------------------

    def send_stdin(self, data: bytes) -> None:
        """Send input, as fast as the program reads it; never blocks for the program.

        What it has not read yet is kept here while events() is being read. Raises
        BufferError when that gets past 16 MiB.
        """
        with self._send_lock:
            if len(self._stdin) + len(data) > _MAX_STDIN_WAITING_BYTES:
                raise BufferError("the program does not read its input")
            self._stdin += data
            self._send_stdin()

    def close_stdin(self) -> None:
        with self._send_lock:
            self._is_stdin_ending = True
            self._send_stdin()

    def _send_stdin(self) -> None:
        """Send what fits into the window; needs the lock."""
        frames = bytearray()
        while self._stdin:
            room = self._stdin_taken + STDIN_WINDOW_BYTES - self._stdin_sent
            part = self._stdin[: min(MAX_CHUNK_BYTES, room)]
            if room <= 0:
                break
            frames += encode("stdin", {}, part)
            self._stdin_sent += len(part)
            del self._stdin[: len(part)]
        if self._is_stdin_ending and not self._stdin:
            frames += encode("close_stdin", {})
            self._is_stdin_ending = False
        if frames:
            self._send_locked(frames)

    def _stdin_was_taken(self, total: int) -> None:
        with self._send_lock:
            if not self._stdin_taken <= total <= self._stdin_sent:
                raise ProtocolError("it took input that was not sent")
            self._stdin_taken = total
            self._send_stdin()

    def signal(self, number: int) -> None:
        self._send(encode("signal", {"number": int(number)}))

    def cancel(self) -> None:
        self._send(encode("cancel", {}))

    def acknowledge(self) -> None:
        self._send(encode("ack", {}))
        self._sock.close()

    def detach(self) -> None:
        self._is_detached = True
        # Wakes a reader in another thread, which close() would not.
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _send(self, data: bytes) -> None:
        with self._send_lock:
            self._send_locked(data)

    def _send_locked(self, data: bytes | bytearray) -> None:
        try:
            self._sock.sendall(data)
        except OSError:
            # Half a frame may be out, so nothing may follow it. The agent hangs up
            # then, if it is still there, and the reader notices.
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)


def greet(sock: socket.socket, token: str, timeout_s: float = 5.0) -> None:
    """Return once the agent has welcomed a follower with this token.

    Raises SandboxError when it says something else, and OSError.
    """
    sock.settimeout(timeout_s)
    sock.sendall(_hello(token))
    decoder = Decoder(FROM_AGENT)
    while data := sock.recv(_RECEIVE_BYTES):
        try:
            for frame in decoder.feed(data):
                if frame.kind == "ready" and frame.header["version"] == VERSION:
                    return
                raise SandboxError(f"the agent says {frame.kind}: {frame.header}")
        except ProtocolError as error:
            raise SandboxError(f"the agent broke the protocol: {error}") from error
    raise SandboxGone("the sandbox closed the connection")


def _hello(token: str | None) -> bytes:
    return b"" if token is None else encode("hello", {"token": token})


def _run_frame(spec: RunSpec) -> bytes:
    header = {
        "key": spec.key,
        "files": [
            {"path": file.path, "size": len(file.content)} for file in spec.files
        ],
        "compile": None if spec.compile is None else _command(spec.compile),
        "run": _command(spec.run),
        "cases": [
            {"stdin_bytes": len(case.stdin), "args": list(case.args)}
            for case in spec.cases
        ],
        "prestart": spec.prestart,
        "interactive": spec.interactive,
    }
    contents = [file.content for file in spec.files]
    return encode("run", header, b"".join(contents + [c.stdin for c in spec.cases]))


def _command(command: Command) -> dict[str, Any]:
    return {
        "argv": list(command.argv),
        "env": dict(command.env),
        "limits": command.limits.as_dict(),
    }


def _max_output(spec: RunSpec | None) -> int:
    if spec is None:
        return 128 * 1024 * 1024
    commands = (spec.run,) if spec.compile is None else (spec.run, spec.compile)
    # Before the cut is known, up to the whole limit has been sent; then the tail.
    return max(command.limits.output_bytes for command in commands) * 5 // 4 + 4


def _outcome(stage: _Stage, result: dict[str, Any]) -> StageOutcome:
    if result["stage"] != stage.name or result["case"] != stage.case:
        raise ProtocolError("a result for another stage")
    end = End(result["end"])
    if (end is End.EXITED) != (result["exit_code"] is not None):
        raise ProtocolError("an exit code without an exit")
    if (end is End.SIGNALLED) != (result["signal"] is not None):
        raise ProtocolError("a signal without its number")
    outputs = {
        stream: stage.streams[stream].output(**result[stream]) for stream in STREAMS
    }
    return StageOutcome(
        end=end,
        limits=Limits(**result["limits"]),
        exit_code=result["exit_code"],
        signal=result["signal"],
        cpu_time_ms=result["cpu_time_ms"],
        wall_time_ms=result["wall_time_ms"],
        memory_peak_bytes=result["memory_peak_bytes"],
        first_output_ms=result["first_output_ms"],
        stdout=outputs["stdout"],
        stderr=outputs["stderr"],
        measured_by=result["measured_by"],
        message=result["message"],
        is_program_fault=result["is_program_fault"],
    )
