"""What a follower hears of a run in a pod whose connection breaks, and pods' sizes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from executions.limits import Limits
from executions.sandbox import pod
from executions.sandbox.base import (
    Command,
    Event,
    Finished,
    Outcome,
    OutputChunk,
    RunSpec,
    StageStarted,
)
from executions.sandbox.kubernetes import KubernetesBackend, _Told, _within
from executions.sandbox.manifests import DEFAULT_PROFILES, MIB, Profile

SMALL, LARGE = DEFAULT_PROFILES
END = Finished(Outcome(compile=None, cases=()))


def chunk(offset: int, data: bytes, stream: str = "stdout") -> OutputChunk:
    return OutputChunk("run", 0, stream, offset, data)


def heard(told: _Told, events: list[Event]) -> list[Event]:
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
    told = _Told()
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


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=8) as made:
        yield made


def test_network_that_answers_is_not_silent(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    assert not pod.is_silent(host, port, 1.0)


def test_refusal_is_an_answer(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    listener.close()
    assert not pod.is_silent(host, port, 1.0)
    assert pod._is_refused(host, port)


def test_network_without_an_answer_is_silent(listener: socket.socket) -> None:
    # A full queue of connections drops what comes, as a network policy does.
    host, port = listener.getsockname()
    listener.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for each in waiting:
        each.setblocking(False)
        each.connect_ex((host, port))
    assert pod.is_silent(host, port)
    for each in waiting:
        each.close()


def test_own_memory_is_told() -> None:
    before = pod._own_bytes()
    held = bytearray(64 * MIB)
    held[::4096] = b"x" * (len(held) // 4096)
    grown = pod._own_bytes() - before
    assert 60 * MIB < grown < 70 * MIB
    assert held
