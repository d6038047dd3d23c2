"""The list-and-watch, against a server that misbehaves in every way it may."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from executions.sandbox.watch import PodWatch, Seen, TooOld
from testing.servers import wait_until

Step = bytes | Exception | None


def pod(name: str, version: int, *, uid: str = "", **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": uid or name, "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {}, "status": status}


def event(kind: str, thing: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": thing}).encode()


class Server:
    """A watch.Source that says what a test tells it to; None ends a stream."""

    def __init__(self) -> None:
        self.listed: list[dict[str, Any]] = []
        self.version = "1"
        self.asked: list[str] = []
        self.steps: queue.Queue[Step] = queue.Queue()

    def list(self) -> tuple[list[dict[str, Any]], str]:
        self.asked.append("list")
        return list(self.listed), self.version

    def follow(self, version: str) -> Iterator[bytes]:
        self.asked.append(version)
        while (step := self.steps.get()) is not None:
            if isinstance(step, Exception):
                raise step
            yield step

    def interrupt(self) -> None:
        self.steps.put(None)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def watch(server: Server) -> Iterator[PodWatch]:
    made = PodWatch(server)
    assert made.wait_listed(10)
    yield made
    made.close()


def address(seen: Seen | None) -> str | None:
    return seen.pod["status"].get("podIP") if seen else None


def test_waiter_is_told_of_a_change(server: Server, watch: PodWatch) -> None:
    server.steps.put(event("ADDED", pod("a", 2)))
    server.steps.put(event("MODIFIED", pod("a", 3, podIP="10.0.0.1")))
    assert watch.wait_for("a", address, 10) == "10.0.0.1"


def test_what_is_known_needs_no_change(server: Server, watch: PodWatch) -> None:
    watch.tell(pod("a", 2, podIP="10.0.0.1"))
    assert watch.wait_for("a", address, 10) == "10.0.0.1"
    assert watch.wait_for("b", address, 0.01) is None


def test_older_news_does_not_hide_what_the_watch_knows(
    server: Server, watch: PodWatch
) -> None:
    server.steps.put(event("ADDED", pod("a", 5, podIP="10.0.0.1")))
    assert watch.wait_for("a", address, 10)
    watch.tell(pod("a", 2))
    assert watch.wait_for("a", address, 10) == "10.0.0.1"


def test_an_answer_that_is_newer_counts(server: Server, watch: PodWatch) -> None:
    server.steps.put(event("ADDED", pod("a", 2)))
    wait_until(lambda: watch.get("a") is not None, "the watch has heard")
    watch.tell(pod("a", 3, podIP="10.0.0.1"))
    assert watch.wait_for("a", address, 10) == "10.0.0.1"


def test_end_of_an_earlier_pod_of_that_name_is_not_this_ones(
    server: Server, watch: PodWatch
) -> None:
    watch.tell(pod("a", 9, uid="second"))
    server.steps.put(event("DELETED", pod("a", 8, uid="first")))
    server.steps.put(event("ADDED", pod("b", 10)))
    wait_until(lambda: watch.get("b") is not None, "the watch has heard")
    seen = watch.get("a")
    assert seen is not None
    assert not seen.is_gone


def test_who_waits_for_another_pod_is_not_woken(
    server: Server, watch: PodWatch
) -> None:
    looks: list[str] = []

    def look(seen: Seen | None) -> str | None:
        looks.append("look")
        return address(seen)

    waiter = threading.Thread(target=watch.wait_for, args=("a", look, 30))
    waiter.start()
    wait_until(lambda: len(looks) == 1, "somebody waits")
    for version in range(2, 50):
        server.steps.put(event("MODIFIED", pod("b", version)))
    server.steps.put(event("ADDED", pod("a", 50, podIP="10.0.0.1")))
    waiter.join(10)
    assert not waiter.is_alive()
    assert len(looks) == 2


def test_deleted_pod_keeps_its_last_words(server: Server, watch: PodWatch) -> None:
    server.steps.put(event("DELETED", pod("a", 2, reason="Evicted")))
    wait_until(lambda: watch.get("a") is not None, "the watch has heard")
    seen = watch.get("a")
    assert seen is not None
    assert seen.is_gone
    assert seen.pod["status"]["reason"] == "Evicted"


def test_it_goes_on_where_the_stream_ended(server: Server, watch: PodWatch) -> None:
    server.steps.put(event("ADDED", pod("a", 7)))
    server.steps.put(event("BOOKMARK", {"metadata": {"resourceVersion": "9"}}))
    server.steps.put(None)
    wait_until(lambda: len(server.asked) == 3, "the watch has heard")
    assert server.asked == ["list", "1", "9"]


@pytest.mark.parametrize(
    "step",
    [TooOld(), event("ERROR", {"code": 410, "message": "too old resource version"})],
    ids=["status", "event"],
)
def test_too_old_lists_again(server: Server, watch: PodWatch, step: Step) -> None:
    server.listed = [pod("a", 20)]
    server.version = "20"
    server.steps.put(step)
    wait_until(lambda: len(server.asked) == 4, "the watch has heard")
    assert server.asked == ["list", "1", "list", "20"]
    assert watch.get("a") is not None


def test_pod_that_a_newer_list_lacks_is_gone(server: Server, watch: PodWatch) -> None:
    server.steps.put(event("ADDED", pod("a", 5)))
    watch.tell(pod("b", 9))
    wait_until(lambda: watch.get("a") is not None, "the watch has heard")
    server.version = "7"
    server.steps.put(TooOld())
    wait_until(lambda: watch.lists == 2, "the watch has heard")
    seen, newer = watch.get("a"), watch.get("b")
    assert seen is not None
    assert seen.is_gone
    # The list is older than what we were told ourselves.
    assert newer is not None
    assert not newer.is_gone


def test_pod_without_a_number_is_gone_once_it_is_old(
    server: Server, watch: PodWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = pod("a", 2)
    thing["metadata"]["resourceVersion"] = "two"
    server.steps.put(event("ADDED", thing))
    wait_until(lambda: watch.get("a") is not None, "the watch has heard")
    server.steps.put(TooOld())
    wait_until(lambda: watch.lists == 2, "the watch has heard")
    seen = watch.get("a")
    # A list may be older than our own create.
    assert seen is not None
    assert not seen.is_gone
    monkeypatch.setattr("executions.sandbox.watch.YOUNG_S", 0.0)
    server.steps.put(TooOld())
    wait_until(lambda: watch.lists == 3, "the watch has heard")
    seen = watch.get("a")
    assert seen is not None
    assert seen.is_gone


@pytest.mark.parametrize(
    "step",
    [
        OSError("reset"),
        b"not json",
        event("ERROR", {"code": 500, "message": "etcd"}),
        b'{"type": "ADDED"}',
    ],
    ids=["broken", "nonsense", "error", "no object"],
)
def test_it_outlives_whatever_goes_wrong(
    server: Server, watch: PodWatch, step: Step
) -> None:
    server.steps.put(step)
    server.steps.put(event("ADDED", pod("a", 2, podIP="10.0.0.1")))
    assert watch.wait_for("a", address, 10) == "10.0.0.1"
    assert watch.failures == 1
    assert server.asked == ["list", "1", "1"]


def test_close_wakes_whoever_waits(server: Server) -> None:
    watch = PodWatch(server)
    server.steps.put(None)
    watch.close()
    assert watch.wait_for("a", address, 10) is None
