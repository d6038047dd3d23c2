"""The operator's view of executions: all of it to read, nothing to edit."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from executions.tests.page.conftest import MakeExecution, log_in, stage, stored_file

LIST = "/admin/executions/execution/"


@pytest.fixture
def admin_page(staff: User) -> Client:
    return log_in(staff)


def operator(*permissions: str) -> User:
    """Return a member of staff with these permissions and no others."""
    user = User.objects.create_user("operator", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def found(client: Client, query: str) -> set[str]:
    rows = client.get(f"{LIST}{query}").context["cl"].result_list
    return {row.runtime for row in rows}


@pytest.mark.parametrize("address", [LIST, "/admin/", "/admin/accounts/apikey/"])
def test_admin_is_closed_to_users(page: Client, address: str) -> None:
    answer = page.get(address)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


def test_admin_is_closed_to_staff_without_permission(
    make_execution: MakeExecution,
) -> None:
    client = log_in(operator())
    assert client.get(LIST).status_code == 403
    assert client.get(f"{LIST}{make_execution().pk}/change/").status_code == 403


def test_admin_shows_the_whole_execution(
    admin_page: Client, make_execution: MakeExecution
) -> None:
    execution = make_execution(
        files=[stored_file("main.py", b"the source"), stored_file("b", b"\xff")],
        stdin=b"the input",
        args=["the argument"],
        stdout=b"the output\0",
        stderr=b"the error",
        compile_stderr=b"the warning",
        reason="the reason",
        result={"compile": stage(), "run": stage(exit_code=3)},
    )
    text = admin_page.get(f"{LIST}{execution.pk}/change/").content.decode()
    for part in ("source", "input", "argument", "output", "error", "warning", "reason"):
        assert f"the {part}" in text
    for part in (str(execution.pk), "Not text.", "NUL", "Run: Exit code", "CPU time"):
        assert part in text


def test_admin_changes_nothing(
    admin_page: Client, make_execution: MakeExecution
) -> None:
    execution = make_execution()
    address = f"{LIST}{execution.pk}/change/"
    assert 'name="_save"' not in admin_page.get(address).content.decode()
    assert admin_page.post(address, {"verdict": "system_error"}).status_code == 403
    assert admin_page.get(f"{LIST}add/").status_code == 403
    assert admin_page.post(f"{LIST}{execution.pk}/delete/").status_code == 403
    execution.refresh_from_db()
    assert execution.verdict == "ok"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"python", "ruby", "go"}),
        ("?status__exact=queued", {"go"}),
        ("?verdict__exact=time_limit", {"ruby"}),
        ("?runtime=python", {"python"}),
        ("?q=strang", {"ruby"}),
        ("?q=nobody", set()),
        ("?q=%27%22%3Cscript%3E", set()),
        ("?q=%00", {"python", "ruby", "go"}),
    ],
)
def test_admin_filters(
    admin_page: Client,
    stranger: User,
    make_execution: MakeExecution,
    query: str,
    expected: set[str],
) -> None:
    make_execution(runtime="python")
    make_execution(runtime="ruby", verdict="time_limit", owner=stranger)
    make_execution(runtime="go", status="queued")
    assert found(admin_page, query) == expected


def test_admin_filters_by_owner(
    admin_page: Client, stranger: User, make_execution: MakeExecution
) -> None:
    make_execution()
    make_execution(runtime="ruby", owner=stranger)
    assert found(admin_page, f"?owner__id__exact={stranger.pk}") == {"ruby"}


def test_admin_finds_by_id(admin_page: Client, make_execution: MakeExecution) -> None:
    wanted = make_execution(runtime="ruby")
    make_execution()
    assert found(admin_page, f"?q={wanted.pk}") == {"ruby"}
    assert found(admin_page, f"?q={wanted.pk.hex.upper()}") == {"ruby"}


def test_admin_list_costs_the_same_for_any_number_of_rows(
    admin_page: Client, make_execution: MakeExecution
) -> None:
    def queries() -> Any:
        with CaptureQueriesContext(connection) as captured:
            admin_page.get(LIST)
        return captured.captured_queries

    for _ in range(2):
        make_execution()
    few = len(queries())
    for _ in range(20):
        make_execution(stdout=b"x" * 1000)
    many = queries()
    assert len(many) == few
    assert not [query for query in many if '"stdout"' in query["sql"]]


def cancel(client: Client, *executions: Any) -> Any:
    data = {"action": "cancel", "_selected_action": [e.pk for e in executions]}
    return client.post(LIST, data, follow=True)


def test_admin_cancels_through_the_service(
    admin_page: Client, make_execution: MakeExecution
) -> None:
    queued, running = make_execution(status="queued"), make_execution(status="running")
    done = make_execution()
    text = cancel(admin_page, queued, running, done).content.decode()
    assert "Asked 2 to end. 1 had ended already." in text
    for execution in (queued, running, done):
        execution.refresh_from_db()
    assert queued.status == "cancelled"
    assert running.status == "running"
    assert running.cancel_requested_at is not None
    assert done.status == "finished"


def test_admin_lets_only_those_cancel_who_may(make_execution: MakeExecution) -> None:
    execution = make_execution(status="queued")
    client = log_in(operator("view_execution"))
    assert client.get(LIST).status_code == 200
    cancel(client, execution)
    execution.refresh_from_db()
    assert execution.status == "queued"


def test_admin_lets_an_operator_cancel(make_execution: MakeExecution) -> None:
    execution = make_execution(status="queued")
    cancel(log_in(operator("change_execution")), execution)
    execution.refresh_from_db()
    assert execution.status == "cancelled"
