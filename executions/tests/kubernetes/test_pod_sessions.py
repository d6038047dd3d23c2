"""What a follower hears of a run in a pod whose connection breaks, and pods' sizes."""

from __future__ import annotations

import math
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from executions.limits import Limits
from executions.sandbox import agent, pod, podsession
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
    StageStarted,
    Wanted,
    always,
)
from executions.sandbox.kubernetes import KubernetesBackend, _within
from executions.sandbox.manifests import DEFAULT_PROFILES, MIB, Profile
from executions.sandbox.pods import Fate
from executions.sandbox.podsession import PodSession, Told
from executions.sandbox.session import ConnectionLost

SMALL, LARGE = DEFAULT_PROFILES
END = Finished(Outcome(compile=None, cases=()))


def chunk(offset: int, data: bytes, stream: str = "stdout") -> OutputChunk:
    return OutputChunk("run", 0, stream, offset, data)


def heard(told: Told, events: list[Event]) -> list[Event]:
    """What a follower gets from one connection."""
    replay = told.replay()
    found = []
    for event in events:
        if (news := replay.news(event)) is not None:
            told.note(news)
            found.append(news)
    return found


BUILD, RUN = StageStarted("compile"), StageStarted("run", 0)


@pytest.mark.parametrize(
    ("before", "again", "news"),
    [
        ([], [RUN, chunk(0, b"ab"), END], [RUN, chunk(0, b"ab"), END]),
        ([RUN, chunk(0, b"ab")], [RUN, chunk(0, b"ab"), END], [END]),
        ([RUN, chunk(0, b"ab")], [RUN, chunk(0, b"abcd"), END], [chunk(2, b"cd"), END]),
        (
            [RUN, chunk(0, b"ab")],
            [RUN, chunk(0, b"x", "stderr"), chunk(0, b"abc"), END],
            [chunk(0, b"x", "stderr"), chunk(2, b"c"), END],
        ),
        # A gap: what lies between was dropped by the agent.
        ([RUN, chunk(0, b"ab")], [RUN, chunk(9, b"z"), END], [chunk(9, b"z"), END]),
        (
            [BUILD, chunk(0, b"warning")],
            [BUILD, chunk(0, b"warning"), RUN, chunk(0, b"ab"), END],
            [RUN, chunk(0, b"ab"), END],
        ),
    ],
    ids=["first", "all", "more", "streams", "gap", "stages"],
)
def test_only_news_is_told_twice(
    before: list[Event], again: list[Event], news: list[Event]
) -> None:
    told = Told()
    heard(told, before)
    assert heard(told, again) == news


class Nowhere(KubernetesBackend):
    """A backend without a cluster, for what needs none."""

    def __init__(self) -> None:
        self.profiles = {profile.name: profile for profile in DEFAULT_PROFILES}


def spec(profile: str, **limits: int) -> RunSpec:
    run = Command(("x",), Limits(scratch_bytes=MIB, memory_bytes=MIB).with_(**limits))
    return RunSpec(key="k-1", files=(), run=run, profile=profile)


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (spec("small"), SMALL),
        (spec("large"), LARGE),
        (spec("unheard-of"), LARGE),
        (spec("small", memory_bytes=SMALL.memory_bytes), SMALL),
        (spec("small", memory_bytes=SMALL.memory_bytes + 1), LARGE),
        (spec("small", scratch_bytes=SMALL.scratch_bytes + 1), LARGE),
        (spec("small", memory_bytes=LARGE.memory_bytes + 1), LARGE),
    ],
)
def test_pod_is_as_large_as_the_limits_ask(wanted: RunSpec, chosen: Profile) -> None:
    assert Nowhere()._fitting(wanted) is chosen


def test_limits_above_the_pods_are_told_as_they_are() -> None:
    huge = spec("large", memory_bytes=1 << 40, scratch_bytes=1 << 40)
    limits = _within(huge, LARGE).run.limits
    assert limits.memory_bytes == LARGE.memory_bytes
    assert limits.scratch_bytes == LARGE.scratch_bytes


class Scripted:
    """An AgentSession that tells this, and then ends as it is told to."""

    def __init__(self, *events: Event, error: Exception | None = None) -> None:
        self._events, self._error = events, error
        self.is_cancelled = self.is_stdin_closed = False

    def events(self) -> Iterator[Event]:
        yield from self._events
        if self._error is not None:
            raise self._error

    def cancel(self) -> None:
        self.is_cancelled = True

    def close_stdin(self) -> None:
        self.is_stdin_closed = True

    def received(self) -> tuple[Output, Output]:
        return Output(b"ab"), Output()


class Reached(Nowhere):
    """A backend whose pods live, or have met this fate, and are attached to so."""

    def __init__(self, *again: Any, fate: Any = None) -> None:
        super().__init__()
        self._again, self._fate = list(again), fate

    def fate(self, name: str, is_wanted: Wanted = always) -> Any:
        return self._fate

    def attached(self, *_: Any) -> Any:
        made = self._again.pop(0)
        if isinstance(made, Exception):
            raise made
        return made


BROKEN = ConnectionLost("it broke")


def followed(first: Scripted, backend: Reached) -> tuple[list[Event], Exception | None]:
    session: Any = PodSession(first, backend, "pod", "key")  # type: ignore[arg-type]
    found = []
    try:
        for event in session.events():
            found.append(event)
    except SandboxError as error:
        return found, error
    return found, None


def test_run_is_followed_over_another_connection() -> None:
    first = Scripted(RUN, chunk(0, b"ab"), error=BROKEN)
    again = Scripted(RUN, chunk(0, b"abc"), END)
    assert followed(first, Reached(again)) == (
        [RUN, chunk(0, b"ab"), chunk(2, b"c"), END],
        None,
    )


@pytest.mark.parametrize("is_closed", [True, False])
def test_end_of_live_input_is_told_again(is_closed: bool) -> None:
    again = Scripted(RUN, END)
    backend = Reached(again)
    session: Any = PodSession(Scripted(RUN, error=BROKEN), backend, "pod", "key")  # type: ignore[arg-type]
    if is_closed:
        session.close_stdin()
    assert list(session.events())[-1] == END
    assert again.is_stdin_closed is is_closed


def test_run_that_was_never_started_is_told_as_such() -> None:
    """Not as a pod that ended, though its agent does so next."""
    never = NeverStarted("nothing was sent")
    found, error = followed(
        Scripted(error=never), Reached(fate=(Fate.ENDED, "it ended"))
    )
    assert (found, error) == ([], never)


def test_run_that_was_heard_of_cannot_be_one_that_never_started() -> None:
    found, error = followed(
        Scripted(RUN, error=NeverStarted("nothing")),
        Reached(fate=(Fate.ENDED, "it ended")),
    )
    assert found == [RUN]
    assert type(error) is SandboxGone


def test_connection_may_break_often_while_there_are_news() -> None:
    number = 3 * podsession._RECONNECTS
    again = [Scripted(RUN, chunk(0, b"x" * n), error=BROKEN) for n in range(2, number)]
    found, error = followed(
        Scripted(RUN, chunk(0, b"x"), error=BROKEN), Reached(*again, Scripted(RUN, END))
    )
    assert error is None
    assert found[-1] == END
    assert len(found) == number + 1


@pytest.mark.parametrize(
    "again",
    [
        [SandboxUnavailable("nobody answers")],
        [ConnectionLost("closed")],
        [Scripted(error=BROKEN)] * 9,
    ],
    ids=["unreachable", "closed", "again and again"],
)
def test_living_pod_is_left_to_somebody_else(again: list[Any]) -> None:
    _, error = followed(Scripted(RUN, error=BROKEN), Reached(*again))
    assert isinstance(error, SandboxDetached)


@pytest.mark.parametrize("fate", [Fate.DELETED, Fate.REFUSED, Fate.EVICTED])
def test_pod_that_had_the_program_is_gone_with_it(fate: Fate) -> None:
    _, error = followed(Scripted(error=BROKEN), Reached(fate=(fate, "it went")))
    assert type(error) is SandboxGone


def test_memory_that_ran_out_is_believed_when_the_news_come_late() -> None:
    class Late(Reached):
        def attached(self, *_: Any) -> Any:
            self._fate = Fate.MEMORY, "the pod was out of memory"
            raise SandboxGone("the pod was out of memory")

    first: Any = Scripted(RUN, chunk(0, b"ab"), error=BROKEN)
    session = PodSession(first, Late(), "pod", "key", spec=spec("small"))
    *_, last = session.events()
    assert isinstance(last, Finished)
    (case,) = last.outcome.cases
    assert (case.end, case.stdout.head) == (End.MEMORY, b"ab")


def test_agent_that_answers_wrongly_is_not_asked_again() -> None:
    wrong = SandboxError("it broke the protocol")
    assert followed(Scripted(error=wrong), Reached()) == ([], wrong)


def reading(record: int, left_out: int, now: int) -> pod._Reading:
    usage = agent.Usage(0, record, now + left_out, 0, 0)
    return pod._Reading(usage, now, record, left_out)


class Counted(pod.PodConfinement):
    """A confinement that reads these."""

    def __init__(self, *readings: pod._Reading) -> None:
        self._readings = list(readings)
        self._stage = 0
        self._begin(self._read())

    def _read(self) -> pod._Reading:
        return self._readings.pop(0)


def test_stage_is_not_charged_with_what_an_earlier_one_used() -> None:
    confinement = Counted(
        reading(100, 50, 40),  # as it begins
        reading(400, 50, 60),  # the compiler was larger in between
        reading(400, 50, 60),  # the next stage begins
        reading(400, 10, 70),  # less is left out, and the record is the old one
    )
    assert confinement.usage(0).memory_peak_bytes == 400 - 50 - 40
    assert confinement.usage(1).memory_peak_bytes == 0
    assert confinement.usage(1).memory_peak_bytes == 10


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as made:
        yield made


def test_network_that_answers_is_not_silent(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    assert pod.answer(host, port, 1.0) is pod.Answer.CONNECTION


def test_refusal_is_an_answer(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    listener.close()
    assert pod.answer(host, port, 1.0) is pod.Answer.REFUSAL


FILTERED = """
ip link set lo up
ip addr add 192.0.2.1/32 dev lo
iptables -A INPUT -p tcp -d 192.0.2.1 -j REJECT
exec "$@"
"""
ASKS = (
    "import sys; from executions.sandbox import pod; print(pod.answer(sys.argv[1], 9))"
)


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("host", "told"), [("192.0.2.1", "REJECTION"), ("127.0.0.1", "REFUSAL")]
)
def test_filter_that_rejects_is_told_from_a_host_that_refuses(
    host: str, told: str
) -> None:
    inside = (sys.executable, "-c", ASKS, host)
    words = ("unshare", "--net", "sh", "-ec", FILTERED, "sh", *inside)
    asked = subprocess.run(words, capture_output=True, text=True, check=True)
    assert asked.stdout == f"Answer.{told}\n"


ANSWERS = {
    "silence": [pod.Answer.NONE],
    "rejected": [pod.Answer.REJECTION, pod.Answer.REJECTION],
    "then silence": [pod.Answer.CONNECTION, pod.Answer.NONE],
    "no endpoints, then silence": [
        pod.Answer.REJECTION,
        pod.Answer.REFUSAL,
        pod.Answer.NONE,
        pod.Answer.REJECTION,
        pod.Answer.REJECTION,
    ],
}


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_network_is_shut_after(
    monkeypatch: pytest.MonkeyPatch, answers: list[pod.Answer]
) -> None:
    left = list(answers)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    pod.wait_for_isolation(ask=lambda *_: left.pop(0))
    assert not left


def test_network_without_an_answer_is_silent(listener: socket.socket) -> None:
    # A full queue of connections drops what comes, as a network policy does.
    host, port = listener.getsockname()
    listener.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for each in waiting:
        each.setblocking(False)
        each.connect_ex((host, port))
    assert pod.answer(host, port) is pod.Answer.NONE
    for each in waiting:
        each.close()


def test_nothing_begins_before_the_network_is_shut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1) as outside,
        socket.create_server(("127.0.0.1", 0)) as inside,
    ):
        host, port = outside.getsockname()
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        is_open = threading.Event()
        is_open.set()

        def answer() -> None:
            while is_open.is_set():
                outside.accept()[0].close()

        threading.Thread(target=answer, daemon=True).start()
        isolation = pod.Isolation(math.inf)
        door = pod.KnockListener(inside, isolation)
        with socket.create_connection(inside.getsockname()):
            accepted = door.accept()
        assert accepted is not None
        accepted.close()
        assert not select.select([isolation], [], [], 0.5)[0]
        # From now on nobody accepts: what is tried fills the queue, then is lost.
        is_open.clear()
        assert select.select([isolation], [], [], 30)[0]


def test_own_memory_is_told() -> None:
    before = pod._own_bytes()
    held = bytearray(64 * MIB)
    held[::4096] = b"x" * (len(held) // 4096)
    grown = pod._own_bytes() - before
    assert 60 * MIB < grown < 70 * MIB
    assert held
