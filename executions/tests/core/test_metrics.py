"""What Prometheus is told of runs, and how it is answered."""

from __future__ import annotations

import logging
import socket
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.error import HTTPError

import pytest
from django.db import connection

from executions import metrics, services
from executions.models import Execution, SandboxPod
from executions.pool import State
from executions.sandbox.base import NoSandboxNow, SandboxError
from executions.sandbox.counters import BOUNDS_S, Counters, Durations
from executions.sandbox.fake import HOLD, FakeSandbox, finished
from executions.tests.core.conftest import SCOPE, beside, eventually, expire, lease
from executions.worker import Worker
from testing.scrape import read, told
from testing.servers import free_port


@pytest.fixture
def serve(settings: Any) -> Iterator[Callable[..., str]]:
    """Return a function that serves collectors and returns where."""
    servers: list[metrics.Server] = []
    settings.METRICS_HOST, settings.METRICS_PORT = "127.0.0.1", free_port()

    def start(*collectors: Any) -> str:
        server = metrics.serve(collectors)
        assert server is not None
        servers.append(server)
        return f"http://127.0.0.1:{settings.METRICS_PORT}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def short_leases(settings: Any) -> None:
    settings.LEASE_LENGTH_S = 0.3


def test_durations_fall_into_the_group_that_reaches_up_to_them() -> None:
    taken = Durations()
    for seconds in (-1.0, 0.001, 0.0011, 60.0, 61.0):
        taken.add(seconds)
    groups = taken.read()
    assert groups.up_to[:2] == [2, 3]
    assert groups.up_to[-3:] == [3, 4, 5]
    assert len(groups.up_to) == len(BOUNDS_S) + 1
    assert groups.total_s == pytest.approx(121.0 + 0.0021)


def test_counters_know_some_names_from_the_beginning() -> None:
    counters = Counters(("a",), ("b",))
    counters.add("b")
    counters.add("c", "d", times=2)
    assert counters.read() == {("a",): 0, ("b",): 1, ("c", "d"): 2}


@pytest.mark.django_db(transaction=True)
class TestRuns:
    def test_metrics_tell_of_verdicts_and_stages(
        self,
        submit: Callable[[], Execution],
        worker: Worker,
        sandbox: FakeSandbox,
        serve: Callable[..., str],
    ) -> None:
        sandbox.script(finished(stdout=b"42\n"), finished(exit_code=1))
        for _ in range(2):
            submit()
        worker.work()
        now = told(serve(metrics.RunsCollector(worker)))
        assert now["executions_total", "ok"] == 1
        assert now["executions_total", "runtime_error"] == 1
        assert now["executions_total", "system_error"] == 0
        assert now["claim_wait_seconds_count",] == 2
        assert now["claim_wait_seconds_bucket", "60.0"] == 2
        for stage, count in (
            *(("sandbox", 2), ("program", 2), ("record", 2)),
            ("first_output", 1),
        ):
            assert now["stage_seconds_count", stage] == count
            assert now["stage_seconds_bucket", "+Inf", stage] == count
            assert now["stage_seconds_sum", stage] > 0
        assert now["runs_followed",] == 0

    def test_metrics_tell_how_long_a_run_was_due(
        self, execution: Execution, worker: Worker, serve: Callable[..., str]
    ) -> None:
        earlier = (
            "now() - interval '100 seconds'"
            if connection.vendor == "postgresql"
            else "strftime('%Y-%m-%d %H:%M:%f', 'now', '-100 seconds')"
        )
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE executions_execution SET due_at = {earlier}")  # noqa: S608
        worker.work()
        now = told(serve(metrics.RunsCollector(worker)))
        assert now["claim_wait_seconds_bucket", "60.0"] == 0
        assert now["claim_wait_seconds_count",] == 1
        assert now["claim_wait_seconds_sum",] >= 100

    def test_metrics_tell_a_run_that_goes_on(
        self, execution: Execution, worker: Worker, sandbox: FakeSandbox, serve: Any
    ) -> None:
        sandbox.script(HOLD)
        url = serve(metrics.RunsCollector(worker))
        beside(worker.work)
        eventually(lambda: told(url)["runs_followed",] == 1)
        services.cancel(execution)
        eventually(lambda: told(url)["executions_total", "cancelled"] == 1)

    def test_metrics_tell_of_attempts_without_a_result(
        self, execution: Execution, worker: Worker, sandbox: FakeSandbox, serve: Any
    ) -> None:
        sandbox.script(NoSandboxNow("no room"), SandboxError("broken"))
        url = serve(metrics.RunsCollector(worker))
        worker.work()
        assert told(url)["postponed_runs_total",] == 1
        assert told(url)["failed_attempts_total",] == 0
        Execution.objects.update(due_at=execution.queued_at)
        worker.work()
        assert told(url)["postponed_runs_total",] == 1
        assert told(url)["failed_attempts_total",] == 1

    @pytest.mark.usefixtures("short_leases")
    @pytest.mark.parametrize("cause", ["expired", "handed_over"])
    def test_metrics_tell_why_a_run_was_adopted(
        self,
        cause: str,
        execution: Execution,
        make_worker: Callable[..., Worker],
        serve: Any,
    ) -> None:
        owner = lease("first")
        assert Execution.objects.claim_next(owner, SCOPE)
        if cause == "expired":
            expire(execution)
        else:
            Execution.objects.hand_over(execution, owner)
        url = serve(metrics.RunsCollector(make_worker("second")))
        eventually(lambda: told(url)["adoptions_total", cause] == 1)
        others = {"expired", "handed_over"} - {cause}
        assert [told(url)["adoptions_total", other] for other in others] == [0]


@pytest.mark.django_db(transaction=True)
class TestPool:
    def test_metrics_count_pods_by_kind_and_state(self, serve: Any) -> None:
        for name, kind, state in (
            ("a", "small", State.READY),
            ("b", "small", State.READY),
            ("c", "large", State.BUSY),
            ("d", "older", State.ENDING),
        ):
            SandboxPod.objects.create(name=name, kind=kind, template="t", state=state)
        now = told(serve(metrics.PoolCollector(["small", "large"])))
        counts = {key[1:]: n for key, n in now.items() if n}
        assert counts == {
            ("small", "ready"): 2,
            ("large", "busy"): 1,
            ("older", "ending"): 1,
        }
        assert len(now) == 2 * len(State) + 1

    def test_metrics_ask_the_database_once_for_many_scrapes(
        self, serve: Any, django_assert_num_queries: Any
    ) -> None:
        collector = metrics.PoolCollector(["small"])
        list(collector.collect())
        SandboxPod.objects.create(name="a", kind="small", template="t")
        with django_assert_num_queries(0):
            (family,) = collector.collect()
        assert {sample.value for sample in family.samples} == {0}
        (later,) = metrics.PoolCollector(["small"], kept_s=0).collect()
        assert {sample.value for sample in later.samples} == {0, 1}


def test_metrics_are_at_one_path_only(serve: Any) -> None:
    url = serve()
    assert "process_resident_memory_bytes" in read(url)
    with pytest.raises(HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/", timeout=10)  # noqa: S310


def test_metrics_where_the_port_is_taken_are_a_warning(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.METRICS_HOST, settings.METRICS_PORT = "127.0.0.1", free_port()
    caplog.set_level(logging.WARNING, "executions.metrics")
    with socket.create_server(("127.0.0.1", settings.METRICS_PORT)):
        assert metrics.serve([]) is None
    (line,) = caplog.messages
    assert line.startswith(f"no metrics at 127.0.0.1:{settings.METRICS_PORT}: ")


def test_metrics_wait_for_nobody_who_says_nothing(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics._Handler, "timeout", 0.2)
    url = serve()
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with socket.create_connection(address):
        assert "process_" in read(url)
