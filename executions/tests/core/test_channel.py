"""One set of tests for both channels: in this process, and on a real Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from django.conf import settings

from executions.channel import Channel, ChannelDown, Control, News
from executions.channel_memory import (
    KEPT_BYTES,
    KEPT_RUNS,
    LOG_ENTRIES,
    MemoryChannel,
)
from executions.channel_redis import RedisChannel
from executions.limits import KIB
from executions.tests.core.conftest import beside, eventually
from testing.servers import Redis

FINISHED = News("finished", {"status": "finished"})


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.db)])
def channel(request: pytest.FixtureRequest) -> Iterator[Channel]:
    made: Channel
    if request.param == "memory":
        made = MemoryChannel()
    else:
        made = RedisChannel(settings.CELERY_BROKER_URL)
    yield made
    made.close()


def output(data: bytes, offset: int = 0) -> News:
    return News("output", {"stream": "stdout", "offset": offset}, data)


def test_follow_replays_then_goes_on_live(channel: Channel) -> None:
    run = uuid4()
    channel.publish(run, [output(b"\x00early\xff")])
    beside(lambda: channel.publish(run, [output(b"late", 7), FINISHED]), delay_s=0.1)
    told = list(channel.follow(run, timeout_s=10))
    assert [(item.kind, item.data) for item in told] == [
        ("output", b"\x00early\xff"),
        ("output", b"late"),
        ("finished", b""),
    ]
    assert told[1].fields == {"stream": "stdout", "offset": 7}


def test_follow_goes_on_after_a_cursor(channel: Channel) -> None:
    run = uuid4()
    channel.publish(run, [output(b"a"), output(b"b"), FINISHED])
    first = next(iter(channel.follow(run, timeout_s=5)))
    assert first.cursor is not None
    rest = channel.follow(run, first.cursor, timeout_s=5)
    assert [item.data for item in rest] == [b"b", b""]


def test_follow_ends_when_time_is_up(channel: Channel) -> None:
    assert list(channel.follow(uuid4(), timeout_s=0.2)) == []


def test_follow_keeps_runs_apart(channel: Channel) -> None:
    one, other = uuid4(), uuid4()
    channel.publish(other, [output(b"other")])
    channel.publish(one, [output(b"one"), FINISHED])
    assert [item.data for item in channel.follow(one)] == [b"one", b""]


def test_a_log_is_bounded(channel: Channel) -> None:
    run = uuid4()
    for start in range(0, 3000, 100):
        channel.publish(run, [output(b"x", start + n) for n in range(100)])
    channel.publish(run, [FINISHED])
    told = list(channel.follow(run, timeout_s=5))
    # Redis trims whole nodes of its tree: approximately.
    assert len(told) < 1300
    assert told[-2].fields["offset"] == 2999


def test_waiter_wakes_when_its_run_finishes(channel: Channel) -> None:
    run = uuid4()
    with channel.waiter(run) as waiter:
        waiter.wait(0)
        beside(lambda: channel.publish(run, [FINISHED]), delay_s=0.1)
        assert waiter.wait(10)


def test_waiter_sleeps_through_other_runs(channel: Channel) -> None:
    run = uuid4()
    with channel.waiter(run) as waiter:
        waiter.wait(0.05)
        channel.publish(run, [output(b"not the end")])
        channel.publish(uuid4(), [FINISHED])
        assert not waiter.wait(0.3)


@pytest.mark.slow
def test_a_thousand_threads_can_wait(channel: Channel) -> None:
    runs = [uuid4() for _ in range(1000)]
    woken: list[bool] = []

    def wait(index: int) -> None:
        with channel.waiter(runs[index]) as waiter:
            woken.append(waiter.wait(60))

    threads = [threading.Thread(target=wait, args=(n,)) for n in range(1000)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    for run in runs:
        channel.publish(run, [FINISHED])
    for thread in threads:
        thread.join(60)
    assert woken == [True] * 1000


def test_listen_gets_messages_in_order(channel: Channel) -> None:
    run, heard = uuid4(), list[Control]()
    sent = [
        Control("stdin", b"\x00a"),
        Control("signal", number=15),
        Control("close_stdin"),
    ]
    with channel.listen(run, heard.append, late=False):
        for control in sent:
            channel.send(run, control)
        eventually(lambda: len(heard) >= len(sent))
    assert heard == sent


def test_listen_gets_what_came_just_before(channel: Channel) -> None:
    run, other, heard = uuid4(), uuid4(), list[Control]()
    with channel.listen(other, lambda _: None, late=False):
        # The process hears everybody's messages already, but does not own this run.
        channel.send(run, Control("cancel"))
        time.sleep(0.2)
        with channel.listen(run, heard.append, late=False):
            eventually(lambda: heard)
    assert heard == [Control("cancel")]


def test_listen_late_gets_what_another_owner_left_unread(channel: Channel) -> None:
    run, heard, later = uuid4(), list[Control](), list[Control]()
    channel.send(run, Control("stdin", b"unread"))
    with channel.listen(run, heard.append, late=True):
        eventually(lambda: heard)
    assert heard == [Control("stdin", b"unread")]
    with channel.listen(run, later.append, late=True):
        time.sleep(0.1)
    assert later == []


def test_workers_are_known_for_as_long_as_they_say(channel: Channel) -> None:
    name = f"worker-{uuid4()}"
    channel.beat(name, 0.3)
    assert name in channel.workers()
    eventually(lambda: name not in channel.workers())


def test_memory_is_bounded_however_many_runs_finish() -> None:
    channel = MemoryChannel()
    whole = [output(b"x" * 64 * KIB) for _ in range(16)]
    runs = [uuid4() for _ in range(100)]
    for run in runs:
        channel.publish(run, [*whole, FINISHED])
    kept = [run for run in runs if list(channel.follow(run, timeout_s=0))]
    assert kept == runs[-len(kept) :]
    assert len(whole) * 64 * KIB * len(kept) <= KEPT_BYTES
    assert len(list(channel.follow(runs[-1]))) == len(whole) + 1
    for run in (small := [uuid4() for _ in range(2 * KEPT_RUNS)]):
        channel.publish(run, [FINISHED])
    assert not list(channel.follow(runs[-1], timeout_s=0))
    assert list(channel.follow(small[-KEPT_RUNS], timeout_s=0))
    assert not list(channel.follow(small[-KEPT_RUNS - 1], timeout_s=0))


def test_a_long_run_keeps_its_last_news() -> None:
    channel, run = MemoryChannel(), uuid4()
    for number in range(LOG_ENTRIES + 5):
        channel.publish(run, [output(b"%d" % number)])
    told = list(channel.follow(run, timeout_s=0))
    assert [told[0].data, told[-1].data] == [b"5", b"%d" % (LOG_ENTRIES + 4)]
    channel.publish(run, [FINISHED])
    for _ in range(KEPT_RUNS):
        channel.publish(uuid4(), [FINISHED])
    assert channel._size_bytes == 0


@pytest.mark.slow
def test_a_restarted_redis_wakes_everybody(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    with Redis(tmp_path / "redis") as server:
        channel = RedisChannel(server.url)
        run, heard = uuid4(), list[Control]()
        with (
            channel.waiter(run) as waiter,
            channel.listen(run, heard.append, late=False),
        ):
            waiter.wait(0.1)
            server.kill()
            with pytest.raises(ChannelDown):
                channel.publish(run, [FINISHED])
            server.start()
            # Not told that it finished, but to look at the row again.
            assert waiter.wait(20)
            eventually(lambda: _is_sent(channel, run))
            eventually(lambda: heard)
        channel.close()


def test_listen_survives_what_strangers_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    with Redis(tmp_path / "redis") as server:
        channel = RedisChannel(server.url)
        stranger = redis.Redis.from_url(server.url)
        run, heard = uuid4(), list[Control]()
        with channel.listen(run, heard.append, late=True):
            stranger.publish("executions:0:finished", b"no id")
            stranger.publish("executions:0:control", b"")
            stranger.xadd(f"run:{run}:in", {"x": "y"})
            stranger.xadd(f"run:{run}:in", {"k": b"\xff", "d": "", "n": "many"})
            stranger.publish("executions:0:control", run.bytes)
            time.sleep(0.2)
            channel.send(run, Control("cancel"))
            eventually(lambda: heard)
        assert heard == [Control("cancel")]
        stranger.close()
        channel.close()


def test_who_waits_for_no_run_is_not_told_of_their_ends(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    with Redis(tmp_path / "redis") as server:
        channel = RedisChannel(server.url)
        stranger = redis.Redis.from_url(server.url)
        finished, control = "executions:0:finished", "executions:0:control"
        run, heard = uuid4(), list[Control]()

        def listeners() -> list[int]:
            found: Any = stranger.pubsub_numsub(finished, control)
            return [count for _, count in found]

        with channel.listen(run, heard.append, late=False):
            assert listeners() == [0, 1]
            with channel.waiter(run) as waiter:
                assert listeners() == [1, 1]
                waiter.wait(0)
                channel.publish(run, [FINISHED])
                assert waiter.wait(10)
            channel.send(run, Control("cancel"))
            eventually(lambda: heard)
        stranger.close()
        channel.close()


def _is_sent(channel: Channel, run: object) -> bool:
    try:
        channel.send(run, Control("cancel"))  # type: ignore[arg-type]
    except ChannelDown:
        return False
    return True


@pytest.mark.slow
def test_a_redis_that_is_away_is_not_asked_again_at_once(tmp_path: Path) -> None:
    channel = RedisChannel("redis://127.0.0.1:1/0")
    with pytest.raises(ChannelDown, match=r"127\.0\.0\.1:1"):
        channel.publish(uuid4(), [FINISHED])
    with pytest.raises(ChannelDown, match="a moment ago"):
        channel.publish(uuid4(), [FINISHED])
    with channel.waiter(uuid4()) as waiter:
        assert not waiter.wait(0.1)
    channel.close()
