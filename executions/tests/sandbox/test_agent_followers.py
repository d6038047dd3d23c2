from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from executions.sandbox.agent import Bounds
from executions.sandbox.base import (
    End,
    Finished,
    Output,
    OutputChunk,
    SandboxDetached,
    SandboxGone,
    SandboxUnavailable,
    StageStarted,
)
from executions.sandbox.plain import PlainBackend
from executions.sandbox.protocol import FROM_AGENT, Decoder, Frame, encode
from executions.sandbox.session import AgentSession
from executions.tests.sandbox.conftest import Runner, finish, spec

WAITS = "print('started', flush=True); input(); print('ended')"


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    give_up_at = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < give_up_at:
        time.sleep(0.02)
    return condition()


def test_second_follower_sees_everything_from_the_start(runner: Runner) -> None:
    run = spec(WAITS, interactive=True)
    first = runner.backend.start(run)
    next(e for e in first.events() if isinstance(e, OutputChunk))
    first.detach()

    second = runner.backend.attach(run.key)
    second.send_stdin(b"\n")
    outcome, events = finish(second)

    assert events[0] == StageStarted("run", 0)
    assert outcome.cases[0].stdout == Output(b"started\nended\n")


def test_outcome_waits_for_a_follower(runner: Runner) -> None:
    run = spec("import sys; print('x' * 300_000); sys.exit(5)")
    runner.backend.start(run).detach()
    time.sleep(0.3)

    outcome, _ = finish(runner.backend.attach(run.key))

    assert outcome.cases[0].exit_code == 5
    assert outcome.cases[0].stdout == Output(b"x" * 300_000 + b"\n")


def test_new_follower_takes_the_place_of_the_old_one(runner: Runner) -> None:
    run = spec(WAITS, interactive=True)
    first = runner.backend.start(run)
    next(e for e in first.events() if isinstance(e, OutputChunk))

    second = runner.backend.attach(run.key)
    with pytest.raises(SandboxDetached):
        list(first.events())

    second.close_stdin()
    outcome, _ = finish(second)
    assert outcome.cases[0].exit_code == 1


def test_detach_wakes_the_reader_and_the_program_goes_on(runner: Runner) -> None:
    run = spec(WAITS, interactive=True)
    session = runner.backend.start(run)
    caught: list[BaseException] = []
    has_printed = threading.Event()

    def read() -> None:
        try:
            for event in session.events():
                if isinstance(event, OutputChunk):
                    has_printed.set()
        except SandboxDetached as error:
            caught.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    assert has_printed.wait(10)
    session.detach()
    reader.join(10)

    assert len(caught) == 1
    again = runner.backend.attach(run.key)
    again.cancel()
    assert finish(again)[0].cases[0].stdout == Output(b"started\n")


def test_cancel_kills_and_keeps_the_output(runner: Runner) -> None:
    session = runner.start("import time; print(1, flush=True); time.sleep(60)")
    for event in session.events():
        if isinstance(event, OutputChunk):
            session.cancel()
    session.acknowledge()
    assert isinstance(event, Finished)
    (case,) = event.outcome.cases

    assert case.end is End.CANCELLED
    assert case.stdout == Output(b"1\n")


def test_cancel_before_the_last_case_ends_the_run(runner: Runner) -> None:
    run = spec(
        "import time; print(1, flush=True); time.sleep(60)",
        cases=spec().cases * 3,
    )
    session = runner.backend.start(run)
    for event in session.events():
        if isinstance(event, OutputChunk):
            session.cancel()
    session.acknowledge()

    assert isinstance(event, Finished)
    assert [case.end for case in event.outcome.cases] == [End.CANCELLED]


def test_signal_reaches_the_program(runner: Runner) -> None:
    session = runner.start(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(7))\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    for event in session.events():
        if isinstance(event, OutputChunk):
            session.signal(signal.SIGTERM)
    session.acknowledge()

    assert isinstance(event, Finished)
    assert event.outcome.cases[0].exit_code == 7


def test_acknowledged_sandbox_ends(runner: Runner) -> None:
    run = spec("print(1)")
    finish(runner.backend.start(run))

    def is_gone() -> bool:
        try:
            list(runner.backend.attach(run.key).events())
        except SandboxGone:
            return True
        return False

    assert wait_for(is_gone)


def test_unknown_key_is_gone_and_stays_fenced(runner: Runner) -> None:
    run = spec("print(1)")

    with pytest.raises(SandboxGone):
        list(runner.backend.attach(run.key).events())
    with pytest.raises(SandboxUnavailable):
        list(runner.backend.start(run).events())


def test_killed_sandbox_is_gone(make_plain: Callable[..., PlainBackend]) -> None:
    backend = make_plain()
    run = spec("import time; print(1, flush=True); time.sleep(60)")
    session = backend.start(run)

    with pytest.raises(SandboxGone):
        for event in session.events():
            if isinstance(event, OutputChunk):
                backend.kill(run.key)


def test_agent_gives_up_an_outcome_that_nobody_fetches(
    make_plain: Callable[..., PlainBackend],
) -> None:
    backend = make_plain(bounds=Bounds(linger_s=0.2))
    run = spec("print(1)")
    session = backend.start(run)
    events = list(session.events())
    session.detach()

    assert isinstance(events[-1], Finished)
    assert wait_for(lambda: not backend.is_running(run.key))


def test_idle_agent_ends_by_itself(make_plain: Callable[..., PlainBackend]) -> None:
    backend = make_plain(bounds=Bounds(idle_s=0.1))
    connect = backend.new_agent()

    def has_ended() -> bool:
        try:
            connect().close()
        except ConnectionRefusedError:
            return True
        return False

    assert wait_for(has_ended)
    with pytest.raises(SandboxUnavailable):
        backend.start(spec("print(1)"))


def test_agent_ends_with_its_backend(make_plain: Callable[..., PlainBackend]) -> None:
    backend = make_plain()
    run = spec("import time; print(1, flush=True); time.sleep(60)")
    session = backend.start(run)
    next(e for e in session.events() if isinstance(e, OutputChunk))
    backend.close()

    with pytest.raises(SandboxGone):
        list(session.events())


# --- what a stranger on the agent's socket can do ------------------------------------


Connect = Callable[[], socket.socket]
NewAgent = Callable[..., Connect]


@pytest.fixture
def new_agent(make_plain: Callable[..., PlainBackend]) -> NewAgent:
    def start(**kwargs: object) -> Connect:
        return make_plain(**kwargs).new_agent()

    return start


def frames(sock: socket.socket) -> list[Frame]:
    """Return all frames until the agent hangs up."""
    decoder, found = Decoder(FROM_AGENT), list[Frame]()
    while data := sock.recv(65536):
        found += decoder.feed(data)
    return found


def test_agent_refuses_a_second_run(new_agent: NewAgent) -> None:
    connect = new_agent()
    mine = AgentSession.start(connect(), spec(WAITS, interactive=True))
    next(e for e in mine.events() if isinstance(e, OutputChunk))

    other = AgentSession.start(connect(), spec("print(2)"))
    with pytest.raises(SandboxUnavailable):
        list(other.events())

    mine.close_stdin()
    assert finish(mine)[0].cases[0].exit_code == 1


def test_same_run_sent_again_is_an_attach(new_agent: NewAgent) -> None:
    connect, run = new_agent(), spec("print('once')")
    AgentSession.start(connect(), run).detach()
    time.sleep(0.2)

    outcome, _ = finish(AgentSession.start(connect(), run))

    assert outcome.cases[0].stdout == Output(b"once\n")


def test_attach_leaves_out_what_was_seen(new_agent: NewAgent) -> None:
    connect, run = new_agent(), spec("print('0123456789')")
    AgentSession.start(connect(), run).detach()
    time.sleep(0.3)
    sock = connect()
    sock.sendall(encode("attach", {"key": run.key, "seen": [[4, 0]]}))

    decoder = Decoder(FROM_AGENT)
    found: list[Frame] = []
    while not any(frame.kind == "result" for frame in found):
        found += decoder.feed(sock.recv(65536))

    (output,) = [frame for frame in found if frame.kind == "output"]
    assert (output.header["offset"], output.body) == (4, b"456789\n")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        encode("cancel", {}),
        encode("stdin", {}, b"x"),
        encode("ack", {}),
        b"\0\0\0\2\0\0\0\0{}",
        b"\xff" * 8,
    ],
)
def test_agent_hangs_up_on_nonsense(new_agent: NewAgent, data: bytes) -> None:
    connect = new_agent()
    sock = connect()
    sock.sendall(data)

    assert frames(sock)[-1].header["code"] == "bad_frame"
    outcome, _ = finish(AgentSession.start(connect(), spec("print(1)")))
    assert outcome.cases[0].stdout == Output(b"1\n")


def test_agent_refuses_a_run_it_cannot_hold(new_agent: NewAgent) -> None:
    connect = new_agent(bounds=Bounds(held_bytes=1_000_000))
    session = AgentSession.start(connect(), spec("print(1)"))

    with pytest.raises(Exception, match="bad_run: the output could exceed"):
        list(session.events())


def test_silent_connections_do_not_keep_others_out(
    new_agent: NewAgent,
) -> None:
    connect = new_agent()
    silent = [connect() for _ in range(30)]

    outcome, _ = finish(AgentSession.start(connect(), spec("print(1)")))

    assert outcome.cases[0].stdout == Output(b"1\n")
    for sock in silent:
        sock.close()


def test_tcp_agent_asks_for_its_token(new_agent: NewAgent) -> None:
    connect = new_agent(token="s3cret")
    for token in (None, "", "wrong", "s3cret ", "\udc00"):
        session = AgentSession.start(connect(), spec("print(1)"), token=token)
        with pytest.raises(SandboxUnavailable):
            list(session.events())

    session = AgentSession.start(connect(), spec("print(1)"), token="s3cret")
    assert finish(session)[0].cases[0].stdout == Output(b"1\n")


def test_tcp_agent_runs_programs_and_holds_outcomes(
    make_plain: Callable[..., PlainBackend],
) -> None:
    backend = make_plain(token="s3cret")
    run = spec("print('x' * 1_000_000)", limits={"output_bytes": 2_000_000})
    backend.start(run).detach()
    time.sleep(0.2)

    outcome, _ = finish(backend.attach(run.key))

    assert outcome.cases[0].stdout == Output(b"x" * 1_000_000 + b"\n")


def test_agent_outlives_any_order_of_frames(new_agent: NewAgent) -> None:
    connect, run = new_agent(), spec("while True: input()", interactive=True)
    first = AgentSession.start(connect(), run)
    next(iter(first.events()))
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    frames = [
        encode("attach", {"key": run.key, "seen": []}),
        encode("attach", {"key": run.key, "seen": [[2**50, 2**50], [0, 1]]}),
        encode("attach", {"key": "other", "seen": []}),
        encode("hello", {"token": "x"}),
        encode("stdin", {}, b"line\n" * 1_000),
        encode("signal", {"number": 17}),
        encode("signal", {"number": 64})[:-3],
        encode("ack", {}),
        b"\0\0\0\3\0\0\0\0{}}",
        chance.randbytes(40),
    ]
    for _ in range(150):
        # It may hang up on the oldest stranger before that one has spoken.
        with connect() as sock, contextlib.suppress(OSError):
            sock.sendall(b"".join(chance.choices(frames, k=chance.randrange(1, 6))))

    last = AgentSession.attach(connect(), run.key)
    last.cancel()
    assert finish(last)[0].cases[0].end is End.CANCELLED


AGENT = """
import socket, sys
from executions.sandbox import agent, plain
from executions.sandbox.launcher import Place
listener, may_begin, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
agent.serve(
    agent.Listener(socket.socket(fileno=listener)),
    plain.NoConfinement(),
    Place(scratch=folder, env={"PATH": "/usr/bin:/bin"}, is_init=False),
    may_begin=may_begin,
)
"""


def test_run_that_is_held_is_laid_out_and_waits(tmp_path: Path) -> None:
    may_begin, begin = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptors = (listener.fileno(), may_begin)
        words = (sys.executable, "-c", AGENT, *map(str, descriptors), str(tmp_path))
        with subprocess.Popen(words, pass_fds=descriptors) as process:
            try:
                sock = socket.create_connection(listener.getsockname())
                session = AgentSession.start(sock, spec("print('ran')"))
                assert wait_for((tmp_path / "main.py").exists)
                sock.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    sock.recv(1)
                os.write(begin, b".")
                outcome, _ = finish(session)
                assert outcome.cases[0].stdout == Output(b"ran\n")
                assert process.wait(10) == 0
            finally:
                process.kill()
                os.close(begin)
                os.close(may_begin)
