"""Executions, leases and a worker whose sandbox is a fake that the test scripts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from accounts.models import User
from executions import backends, channel, leases, services, specs
from executions.channel import Channel
from executions.leases import Lease
from executions.limits import Limits
from executions.models import Execution
from executions.sandbox.base import SourceFile
from executions.sandbox.fake import FakeSandbox
from executions.worker import Worker

SCOPE = "fake"
Submit = Callable[..., Execution]


def submission(source: bytes = b"print(42)", **changes: Any) -> specs.Submission:
    fields: dict[str, Any] = {
        "runtime": "python",
        "entry_point": "main.py",
        "files": (SourceFile("main.py", source),),
        "limits": Limits(),
        "compile_limits": Limits(),
    }
    return specs.Submission(**{**fields, **changes})


def lease(owner: str = "test") -> Lease:
    return leases.new(owner)


def eventually(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Return the condition's value once it is true; fails after a while."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return value


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner")


@pytest.fixture
def submit(owner: User) -> Submit:
    def submit(source: bytes = b"print(42)", **changes: Any) -> Execution:
        return services.submit(owner=owner, submission=submission(source, **changes))

    return submit


@pytest.fixture
def execution(submit: Submit) -> Execution:
    return submit()


@pytest.fixture
def sandbox() -> Iterator[FakeSandbox]:
    fake = FakeSandbox(SCOPE)
    before = backends.use(fake)
    yield fake
    backends.use(before)


@pytest.fixture
def news() -> Channel:
    """The channel that services use in this process."""
    return channel.current()


@pytest.fixture
def make_worker(sandbox: FakeSandbox, settings: Any) -> Iterator[Callable[..., Worker]]:
    """Make workers of one scope, each with its own threads, as processes would be."""
    settings.LEASE_LOOK_S = 0.05
    made: list[Worker] = []

    def make(name: str = "worker", **options: Any) -> Worker:
        worker = Worker(sandbox, options.pop("channel", channel.current()), name=name)
        worker.start()
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.stop()
        sandbox.kill()
        worker.wait(5)
        worker.close()


@pytest.fixture
def worker(make_worker: Callable[..., Worker]) -> Worker:
    return make_worker()


def reload(execution: Execution) -> Execution:
    return Execution.objects.get(pk=execution.pk)


def expire(execution: Execution) -> None:
    """Let the lease of an execution run out, as if its owner had been killed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE executions_execution SET lease_until = '2001-01-01 00:00:00'"
            " WHERE lease_id IS NOT NULL"
        )


def beside(work: Callable[[], object], delay_s: float = 0.0) -> threading.Thread:
    """Do something in a thread that closes its own database connection."""

    def run() -> None:
        time.sleep(delay_s)
        work()
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread
