"""A bell that cannot be rung is no error, and costs the submit little."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from kombu import pools

from executions import bells, services
from executions.models import Execution, Status
from executions.scheduler import FORGOTTEN_S, Scheduler
from executions.tests.core.conftest import Submit, reload
from platform_site.celery import app
from testing.servers import Redis


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Every test begins with an empty queue and no memory of a broken broker."""
    bells.forget_failure()
    with app.connection_for_write() as broker:
        channel: Any = broker.default_channel
        channel.queue_purge(app.conf.task_default_queue)
    yield
    bells.forget_failure()


def test_ring_leaves_one_message(db: None) -> None:
    assert bells.ring()
    assert bells.unheard() == 1


@pytest.mark.django_db(transaction=True)
def test_submit_rings(submit: Submit) -> None:
    submit()
    assert bells.unheard() == 1


@pytest.mark.slow
def test_a_submit_without_a_broker_succeeds(
    submit: Submit, django_capture_on_commit_callbacks: Any, elsewhere: None
) -> None:
    began = time.monotonic()
    with django_capture_on_commit_callbacks(execute=True):
        rows = [submit() for _ in range(50)]
    assert {reload(row).status for row in rows} == {Status.QUEUED}
    # Not a time-out for each.
    assert time.monotonic() - began < 10
    assert bells.unheard() is None


@contextmanager
def broker_at(url: str) -> Iterator[None]:
    """Let this process ring at another broker."""
    conf: Any = app.conf
    before = settings.CELERY_BROKER_URL
    with pytest.MonkeyPatch.context() as patch:
        # Celery itself looks here before it looks at its configuration.
        patch.delenv("CELERY_BROKER_URL", raising=False)
        conf.broker_url = conf.broker_write_url = url
        _reset_pools()
        try:
            yield
        finally:
            conf.broker_url = conf.broker_write_url = before
            _reset_pools()


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """The broker is a port where nobody listens."""
    with broker_at("redis://127.0.0.1:1/0"):
        yield


def _reset_pools() -> None:
    celery: Any = app
    celery._pool = None
    celery.amqp._producer_pool = None
    pools.reset()


def test_the_scheduler_rings_for_what_nobody_claims(execution: Execution) -> None:
    scheduler = Scheduler()
    assert scheduler.ring_for_forgotten(0.0) == 0
    assert scheduler.ring_for_forgotten(FORGOTTEN_S - 0.1) == 0
    assert scheduler.ring_for_forgotten(FORGOTTEN_S) == 1
    # That bell was not heard yet: another one is no help.
    assert scheduler.ring_for_forgotten(3 * FORGOTTEN_S) == 0


def test_the_scheduler_is_quiet_while_rows_are_claimed(submit: Submit) -> None:
    scheduler = Scheduler()
    for row in [submit() for _ in range(5)]:
        assert scheduler.ring_for_forgotten(row.queued_at.timestamp()) == 0
        services.cancel(row)
    assert scheduler.ring_for_forgotten(10**10) == 0


def test_the_scheduler_rings_for_each_row_that_is_due(submit: Submit) -> None:
    for _ in range(3):
        submit()
    scheduler = Scheduler()
    scheduler.ring_for_forgotten(0.0)
    assert scheduler.ring_for_forgotten(FORGOTTEN_S) == 3


@pytest.mark.slow
def test_a_broker_that_comes_back_is_used_again(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    with Redis(tmp_path / "redis") as server, broker_at(server.url):
        assert bells.ring()
        assert bells.unheard() == 1
        server.kill()
        assert not bells.ring()
        # The connection that is open still breaks otherwise than a new one.
        assert [bells.unheard(), bells.unheard()] == [None, None]
        server.start()
        time.sleep(bells.PAUSE_S + 0.1)
        assert bells.ring()
        assert bells.unheard() == 1


def test_a_thread_hears_a_bell_at_once(db: None) -> None:
    heard_after: list[float] = []

    def listen() -> None:
        if bells.hear(10):
            heard_after.append(time.monotonic())

    listener = threading.Thread(target=listen)
    listener.start()
    time.sleep(0.2)
    began = time.monotonic()
    bells.ring()
    listener.join(10)
    assert heard_after and heard_after[0] - began < 1
    assert bells.unheard() == 0


def test_bells_that_rang_before_are_heard_one_by_one(db: None) -> None:
    bells.ring(2)
    assert [bells.hear(0.1) for _ in range(3)] == [True, True, False]


def test_no_bell_is_heard_from_a_broker_that_is_away(elsewhere: None) -> None:
    with pytest.raises(bells.BrokerAway):
        bells.hear(0.1)
