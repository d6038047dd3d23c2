"""The list of one's own executions: filters and pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from executions.tests.page.conftest import MakeExecution
from executions.views import PAGE_ROWS

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)


def listed(page: Client, query: str = "") -> list[str]:
    text = page.get(f"/executions/{query}").content.decode()
    return re.findall(r'class="plain" href="/executions/([0-9a-f-]{36})/"', text)


def link(page: Client, query: str, rel: str) -> str | None:
    text = page.get(f"/executions/{query}").content.decode()
    found = re.search(rf'rel="{rel}" href="([^"]+)"', text)
    return found[1].replace("&amp;", "&") if found else None


def test_list_shows_only_ones_own(
    page: Client, stranger: User, make_execution: MakeExecution
) -> None:
    mine = make_execution()
    make_execution(owner=stranger)
    assert listed(page) == [str(mine.pk)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?state=ok", {"python ok", "ruby ok"}),
        ("?state=runtime_error", {"python error"}),
        ("?state=queued", {"python queued"}),
        ("?runtime=ruby", {"ruby ok"}),
        ("?state=ok&runtime=ruby", {"ruby ok"}),
        ("?state=cancelled", set()),
        ("?since=2026-05-10", {"python ok", "python error", "python queued"}),
        ("?until=2026-05-09", {"ruby ok"}),
        ("?since=2026-05-09&until=2026-05-09", {"ruby ok"}),
    ],
)
def test_list_filters(
    page: Client, make_execution: MakeExecution, query: str, expected: set[str]
) -> None:
    made = {
        "python ok": make_execution(queued_at=NOON),
        "ruby ok": make_execution(queued_at=NOON - timedelta(days=1), runtime="ruby"),
        "python error": make_execution(queued_at=NOON, verdict="runtime_error"),
        "python queued": make_execution(queued_at=NOON, status="queued"),
    }
    assert set(listed(page, query)) == {str(made[name].pk) for name in expected}


@pytest.mark.parametrize(
    "query",
    [
        "?state=owner",
        "?runtime=x%27%20OR%201=1",
        "?since=yesterday",
        "?since=9999-99-99",
        "?until=9999-12-31",
        "?before=x_y",
        "?after=2026-05-10T12:00:00_",
        "?before=2026-05-10T12:00:00_6e9d3c53-7d5a-4e54-9ac6-2f43f2b3a8a5",
        "?before=0001-01-01T00:00:00%2B14:00_6e9d3c53-7d5a-4e54-9ac6-2f43f2b3a8a5",
        "?before=9999-12-31T23:59:59%2B00:00_6e9d3c53-7d5a-4e54-9ac6-2f43f2b3a8a5",
        "?owner=1&ordering=password&status__in=x",
        "?before=%00",
        "?state=%00",
        "?since=0001-01-01",
    ],
)
def test_list_survives_nonsense(
    page: Client, make_execution: MakeExecution, query: str
) -> None:
    make_execution()
    assert page.get(f"/executions/{query}").status_code == 200


@pytest.mark.parametrize("spread_s", [0, 1])
def test_list_pages_show_every_row_once(
    page: Client, make_execution: MakeExecution, spread_s: int
) -> None:
    made = {
        str(make_execution(queued_at=NOON - timedelta(seconds=n * spread_s)).pk)
        for n in range(2 * PAGE_ROWS + 3)
    }
    query, forward = "", []
    while True:
        forward.append(listed(page, query))
        following = link(page, query, "next")
        if following is None:
            break
        query = following
    assert [len(rows) for rows in forward] == [PAGE_ROWS, PAGE_ROWS, 3]
    assert set().union(*forward) == made

    backward = [listed(page, query)]
    while (query := link(page, query, "prev") or "") != "":
        backward.append(listed(page, query))
    assert backward == forward[::-1]


def test_list_pages_keep_the_filters(
    page: Client, make_execution: MakeExecution
) -> None:
    for n in range(PAGE_ROWS + 1):
        make_execution(queued_at=NOON - timedelta(seconds=n))
    following = link(page, "?state=ok&runtime=python", "next")
    assert following is not None
    assert "state=ok&runtime=python&before=" in following


def test_list_costs_the_same_for_any_number_of_rows(
    page: Client, make_execution: MakeExecution
) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            page.get("/executions/")
        return len(queries)

    make_execution()
    one = cost()
    for _ in range(20):
        make_execution(stdout=b"x" * 1000)
    assert cost() == one


def test_list_reads_no_output(page: Client, make_execution: MakeExecution) -> None:
    make_execution(stdout=b"x" * 1000)
    with CaptureQueriesContext(connection) as queries:
        page.get("/executions/")
    assert not [q for q in queries.captured_queries if '"stdout"' in q["sql"]]
