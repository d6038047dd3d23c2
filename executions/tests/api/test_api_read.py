from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from executions.models import Execution
from executions.tests.api.conftest import Caller

STAGE = {
    "end": "exited",
    "exit_code": 3,
    "signal": None,
    "cpu_time_ms": 12,
    "wall_time_ms": 15,
    "memory_peak_bytes": 4096,
    "measured_by": "cgroup",
    "stdout": {"head_bytes": 2, "dropped_bytes": 7},
    "stderr": {"head_bytes": 0, "dropped_bytes": 0},
}


def finish(execution: Execution, **fields: Any) -> None:
    values: dict[str, Any] = {
        "status": "finished",
        "verdict": "runtime_error",
        "reason": "exited with 3",
        "result": {"compile": None, "run": STAGE},
        "stdout": b"a\xff\0z",
        "attempt": 1,
        "started_at": datetime(2030, 1, 31, 12, tzinfo=UTC),
        "sent_ms": 2,
        "ended_ms": 1500,
        **fields,
    }
    Execution.objects.filter(pk=execution.pk).update(**values)


def test_read_shows_the_outcome(owner: Caller, execution: Execution) -> None:
    finish(execution)
    shown = owner.get(f"/api/v1/executions/{execution.id}/").json()
    assert shown["verdict"] == "runtime_error"
    assert shown["reason"] == "exited with 3"
    assert shown["compile"] is None
    assert shown["started_at"] == "2030-01-31T12:00:00Z"
    assert shown["ended_at"] == "2030-01-31T12:00:01.500000Z"
    assert shown["first_output_at"] is None
    assert shown["run"] == {
        **{name: value for name, value in STAGE.items() if name[:3] != "std"},
        "stdout": "a\ufffd\0z",
        "stdout_head_bytes": 2,
        "stdout_dropped_bytes": 7,
        "stderr": "",
        "stderr_head_bytes": 0,
        "stderr_dropped_bytes": 0,
    }


def test_read_gives_bytes_as_base64(owner: Caller, execution: Execution) -> None:
    finish(execution)
    shown = owner.get(f"/api/v1/executions/{execution.id}?encoding=base64").json()
    assert (shown["encoding"], shown["run"]["stdout"]) == ("base64", "Yf8Aeg==")


def test_read_shows_output_without_an_outcome(
    owner: Caller, execution: Execution
) -> None:
    finish(execution, status="cancelled", verdict=None, result=None)
    shown = owner.get(f"/api/v1/executions/{execution.id}").json()
    assert shown["run"]["stdout"] == "a\ufffd\0z"
    assert shown["run"]["end"] is None


@pytest.mark.parametrize(
    "query",
    ["encoding=latin1", "include=owner", "wait=61", "fields=password", "wait=1&wait=2"],
)
def test_read_refuses_strange_parameters(
    owner: Caller, execution: Execution, query: str
) -> None:
    answer = owner.get(f"/api/v1/executions/{execution.id}?{query}")
    assert answer.status_code == 400
    assert list(answer.json()["error"]["fields"]) == [query.partition("=")[0]]


def test_list_pages_through_everything_once(owner: Caller) -> None:
    ids = [owner.submit().json()["id"] for _ in range(5)]
    for day, pk in enumerate(ids, start=1):
        moment = datetime(2030, 1, day, tzinfo=UTC)
        Execution.objects.filter(pk=pk).update(queued_at=moment)
    path, seen, sizes = "/api/v1/executions?page_size=2", [], []
    while path:
        page = owner.get(path).json()
        seen += [row["id"] for row in page["results"]]
        sizes.append(len(page["results"]))
        path = page["next"]
    assert sizes == [2, 2, 1]
    assert seen == ids[::-1]


def test_list_pages_by_the_times_of_the_database(owner: Caller) -> None:
    ids = [owner.submit().json()["id"] for _ in range(5)]
    path, seen = "/api/v1/executions?page_size=1", []
    while path:
        page = owner.get(path).json()
        seen += [row["id"] for row in page["results"]]
        path = page["next"]
    # Several may be of the same millisecond, so their order is not certain.
    assert sorted(seen) == sorted(ids)


def test_list_after_a_shown_time_begins_with_its_row(owner: Caller) -> None:
    row = owner.submit().json()
    since = quote(row["queued_at"])
    later = owner.get(f"/api/v1/executions?queued_after={since}").json()
    earlier = owner.get(f"/api/v1/executions?queued_before={since}").json()
    assert [shown["id"] for shown in later["results"]] == [row["id"]]
    assert earlier["results"] == []


def test_list_pages_through_rows_of_the_same_moment(owner: Caller) -> None:
    ids = {owner.submit().json()["id"] for _ in range(5)}
    Execution.objects.update(queued_at=datetime(2030, 1, 1, tzinfo=UTC))
    path, seen = "/api/v1/executions?page_size=2", []
    while path:
        page = owner.get(path).json()
        seen += [row["id"] for row in page["results"]]
        path = page["next"]
    assert sorted(seen) == sorted(ids)


def test_list_filters(owner: Caller) -> None:
    now = datetime.now(UTC)
    old, python, lua = (
        Execution.objects.get(pk=owner.submit(runtime=name).json()["id"])
        for name in ("python", "python", "lua")
    )
    Execution.objects.filter(pk=old.pk).update(queued_at=now - timedelta(days=2))
    finish(python, verdict="ok")
    yesterday = quote((now - timedelta(days=1)).isoformat())

    def ids(query: str) -> list[str]:
        page = owner.get(f"/api/v1/executions?{query}").json()
        return [row["id"] for row in page["results"]]

    assert ids("status=finished") == [str(python.pk)]
    assert ids("verdict=ok") == [str(python.pk)]
    assert ids("runtime=lua") == [str(lua.pk)]
    assert ids("runtime=py&status=queued") == [str(old.pk)]
    assert ids(f"queued_before={yesterday}") == [str(old.pk)]
    assert ids(f"queued_after={yesterday}") == [str(lua.pk), str(python.pk)]
    assert ids("verdict=time_limit") == []


@pytest.mark.parametrize(
    "query",
    [
        "ordering=password",
        "owner__password__startswith=a",
        "owner=1",
        "search={{7*7}}",
        "status=finished'--",
        "status=",
        "verdict=OK",
        "runtime=x%00",
        "runtime=%0d%0aX-Evil:1",
        "queued_after=yesterday",
        "queued_after=2030-01-01T00:00:00",
        "queued_after=2030-13-01T00:00:00Z",
        "queued_after=0001-01-01T00:00:00%2B14:00",
        "queued_before=9999-12-31T23:59:59-14:00",
        "page_size=0",
        "page_size=-1",
        "page_size=1e9",
        "page_size=1000000000",
        "page_size=10000000000000000000000",
        "cursor=x",
        "cursor=%ff",
        "cursor=JyBPUiAxPTE",
        "cursor=" + "A" * 2000,
        "%00=1",
        "id__in=1",
        "limit=5",
    ],
)
def test_list_refuses_strange_parameters(owner: Caller, query: str) -> None:
    answer = owner.get(f"/api/v1/executions?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["fields"]
    assert not any(name.lower() == "x-evil" for name in answer.headers)


def test_each_request_costs_few_queries(
    owner: Caller, execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.models.KNOWN_FOR_S", 3600)
    monkeypatch.setattr("accounts.models._known", {})
    # The first one of a second asks for the key, too.
    for path, count in (
        ("/api/v1/executions", 2),
        ("/api/v1/executions", 1),
        (f"/api/v1/executions/{execution.id}", 1),
    ):
        with CaptureQueriesContext(connection) as queries:
            assert owner.get(path).status_code == 200
        assert len(queries) == count
    with CaptureQueriesContext(connection) as queries:
        owner.submit()
    assert len(queries) == 1


def test_runtimes_lists_each_language(owner: Caller) -> None:
    listed = owner.get("/api/v1/runtimes/").json()["results"]
    (python,) = (entry for entry in listed if entry["key"] == "python")
    assert "py" in python["aliases"]
    assert len(listed) >= 16


def test_limits_tells_defaults_and_maxima(owner: Caller, settings: Any) -> None:
    told = owner.get("/api/v1/limits").json()
    assert told["limits"]["wall_time_ms"] == {
        "default": settings.RUN_DEFAULT.wall_time_ms,
        "maximum": settings.RUN_MAX.wall_time_ms,
    }
    assert told["submission"]["max_body_bytes"] == settings.REQUEST_MAX_BODY_BYTES
