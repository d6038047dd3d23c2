"""Bells travel at once, and nothing else on the queue ends a worker."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection, Consumer, Producer, Queue

from executions.tests.core.conftest import eventually
from platform_site import transports
from platform_site.celery import app
from testing.servers import Command, Redis

BELL: dict[str, Any] = {
    "body": "W1tdLCB7fSwge31d",
    "content-type": "application/json",
    "headers": {"task": "executions.work", "id": "1"},
    "properties": {"delivery_tag": "1", "delivery_info": {}},
}
TASKS = ("executions.work",)


def test_a_bell_has_no_flaw() -> None:
    assert transports.flaw(BELL, TASKS) is None


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        "text",
        {},
        {**BELL, "headers": []},
        {**BELL, "headers": {"task": "os.system", "id": "1"}},
        {**BELL, "headers": {"task": ["executions.work"], "id": "1"}},
        {**BELL, "headers": {"task": "executions.work", "id": 1}},
        {**BELL, "content-type": "application/x-python-serialize"},
        {**BELL, "properties": {"delivery_info": {}}},
        {**BELL, "properties": {"delivery_tag": "1"}},
        {**BELL, "body": "x" * 10_000},
        {**BELL, "body": {}},
    ],
    ids=str,
)
def test_anything_else_has_one(message: Any) -> None:
    assert transports.flaw(message, TASKS)


def test_a_bell_as_celery_sends_it_has_no_flaw() -> None:
    with Connection("memory://") as broker:
        queues: Any = app.amqp.queues
        queues.add(Queue("flaw-test"))
        app.send_task("executions.work", connection=broker, queue="flaw-test")
        channel: Any = broker.default_channel
        message = channel._get("flaw-test")
    assert transports.flaw(json.loads(json.dumps(message)), TASKS) is None


def test_memory_delivers_without_polling() -> None:
    took: list[float] = []
    with Connection("memory://") as broker:
        queue = Queue("latency-test")

        def heard(body: float, message: Any) -> None:
            took.append(time.monotonic() - body)
            message.ack()

        def ring() -> None:
            with Connection("memory://") as sender:
                producer = Producer(sender)
                for _ in range(20):
                    time.sleep(0.01)
                    producer.publish(time.monotonic(), routing_key="latency-test")

        with Consumer(broker, [queue], callbacks=[heard]):
            threading.Thread(target=ring).start()
            while len(took) < 20:
                broker.drain_events(timeout=5)
    # kombu's own takes 150 to 1,000 ms for each.
    assert sorted(took)[10] < 0.1


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Redis]:
    tmp_path.chmod(0o711)
    with Redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def consumer(broker: Redis, tmp_path: Path) -> Iterator[Command]:
    """A real worker process, as in production, with a database of its own."""
    env = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "CELERY_BROKER_URL": broker.url,
        "SANDBOX_BACKEND": "fake",
        "WORKER_CONCURRENCY": "2",
    }
    migrate = Command(
        tmp_path, "migrate", ["manage.py", "migrate"], env, ready=lambda _: True
    )
    migrate.start()
    eventually(lambda: not migrate.is_running, 60)
    worker = Command(
        tmp_path,
        "worker",
        ["-m", "celery", "-A", "platform_site", "worker", "-l", "INFO"],
        env,
        ready=lambda it: b" ready." in it.log_path.read_bytes(),
    )
    with worker:
        yield worker


def hostile_messages() -> list[bytes]:
    pickled = {**BELL, "content-type": "application/x-python-serialize"}
    return [
        b"not json",
        b"\x80\x04\x95",
        b"\xff\xfe",
        b"",
        b"[" * 100_000,
        b"null",
        b"{}",
        b"[1]",
        json.dumps({"body": "x" * 5_000_000}).encode(),
        json.dumps(pickled).encode(),
        json.dumps({**BELL, "headers": {"task": "unknown", "id": "1"}}).encode(),
        json.dumps({**BELL, "headers": "x", "properties": 1}).encode(),
        json.dumps({**BELL, "body": "not base64"}).encode(),
        json.dumps({**BELL, "content-encoding": "none-such"}).encode(),
        json.dumps({**BELL, "headers": {**BELL["headers"], "eta": "never"}}).encode(),
        json.dumps({**BELL, "headers": {**BELL["headers"], "lang": 1}}).encode(),
    ]


@pytest.mark.db
def test_no_message_ends_a_worker(broker: Redis, consumer: Command) -> None:
    client = redis.Redis.from_url(broker.url)
    for message in hostile_messages() * 2:
        client.lpush(transports.QUEUE, message)
    eventually(lambda: client.llen(transports.QUEUE) == 0, 20)
    with Celery(broker=broker.url) as sender:
        for _ in range(4):
            sender.send_task("executions.work", queue=transports.QUEUE)
    eventually(lambda: client.llen(transports.QUEUE) == 0, 20)
    eventually(lambda: client.hlen("unacked") == 0, 20)
    assert consumer.is_running
    assert "Unrecoverable" not in consumer.log_path.read_text()
    assert "no bell" in consumer.log_path.read_text()
