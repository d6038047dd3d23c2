"""News of a run are published in the order in which they happened."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from uuid import UUID

import pytest

from executions.channel import News
from executions.channel_memory import MemoryChannel
from executions.news import NewsDesk
from executions.tests.core.conftest import eventually

RUN = uuid.uuid4()


class SlowChannel(MemoryChannel):
    """Takes its time to publish output, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun = threading.Event()
        self.may_go_on = threading.Event()

    def publish(self, execution_id: UUID, news: Sequence[News]) -> None:
        if news[0].kind == "output":
            self.has_begun.set()
            self.may_go_on.wait(10)
        super().publish(execution_id, news)


class CountingChannel(MemoryChannel):
    """Keeps what each call published."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[tuple[UUID, list[str]]] = []

    def publish(self, execution_id: UUID, news: Sequence[News]) -> None:
        self.published.append((execution_id, [item.kind for item in news]))


@pytest.fixture
def channel() -> SlowChannel:
    return SlowChannel()


@pytest.fixture
def desk(channel: SlowChannel) -> Iterator[NewsDesk]:
    made = NewsDesk(channel)
    yield made
    channel.may_go_on.set()
    made.close()


def test_news_of_the_end_never_overtake_output(
    channel: SlowChannel, desk: NewsDesk
) -> None:
    desk.add(RUN, News("output", data=b"late"))
    assert channel.has_begun.wait(10)
    end = threading.Thread(target=desk.finish, args=(RUN, News("finished")))
    end.start()
    # Were it not for the order, it would be through at once.
    end.join(0.2)
    channel.may_go_on.set()
    end.join(10)
    assert [item.kind for item in channel.follow(RUN)] == ["output", "finished"]


def test_the_first_news_of_a_run_go_out_with_its_end_if_that_is_soon() -> None:
    channel = CountingChannel()
    desk = NewsDesk(channel)
    other = uuid.uuid4()
    now = time.monotonic()
    desk.add(RUN, News("stage"), started_at=now)
    desk.add(other, News("output", data=b"of a run that began before"))
    eventually(lambda: channel.published)
    desk.finish(RUN, News("finished"))
    assert channel.published == [(other, ["output"]), (RUN, ["stage", "finished"])]
    desk.close()


def test_the_first_news_of_a_run_go_out_though_it_goes_on() -> None:
    channel = CountingChannel()
    desk = NewsDesk(channel)
    desk.add(RUN, News("stage"), started_at=time.monotonic())
    eventually(lambda: channel.published)
    assert channel.published == [(RUN, ["stage"])]
    desk.close()


def test_news_of_the_end_wait_for_no_other_run(
    channel: SlowChannel, desk: NewsDesk
) -> None:
    desk.add(RUN, News("output", data=b"slow"))
    assert channel.has_begun.wait(10)
    other = uuid.uuid4()
    desk.finish(other, News("finished"))
    assert [item.kind for item in channel.follow(other)] == ["finished"]
