"""Who may do what: rows A1 to A3."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import get_user
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, User
from executions.models import Execution
from executions.tests.api.conftest import HELLO, Caller
from testing.servers import wait_until

VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE")
BELOW = ("", "/", "/cancel", "/cancel/", "?wait=1", "?include=submission")


def without_id(answer: Any) -> Any:
    """The body, but for the only thing that may differ."""
    if not answer.content:
        return b""
    body = answer.json()
    body["error"].pop("request_id")
    return body


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("below", BELOW)
def test_a_stranger_sees_no_difference_to_nothing(
    stranger: Caller, staff: Caller, execution: Execution, verb: str, below: str
) -> None:
    before = Execution.objects.values().get()
    for somebody in (stranger, staff):
        theirs = somebody.request(verb, f"/api/v1/executions/{execution.id}{below}")
        nothing = somebody.request(verb, f"/api/v1/executions/{uuid4()}{below}")
        assert theirs.status_code == nothing.status_code
        assert theirs.status_code in (404, 405)
        assert without_id(theirs) == without_id(nothing)
    assert Execution.objects.values().get() == before


def test_a_list_shows_own_rows_only(
    owner: Caller, stranger: Caller, staff: Caller, execution: Execution
) -> None:
    path = "/api/v1/executions"
    assert len(owner.get(path).json()["results"]) == 1
    assert stranger.get(path).json()["results"] == []
    assert staff.get(path).json()["results"] == []


def test_a_cursor_of_others_shows_own_rows_only(
    owner: Caller, stranger: Caller
) -> None:
    for _ in range(2):
        owner.submit()
    following = owner.get("/api/v1/executions?page_size=1").json()["next"]
    assert stranger.get(following).json() == {"results": [], "next": None}


def test_an_idempotency_key_is_its_user_s(owner: Caller, stranger: Caller) -> None:
    path = "/api/v1/executions"
    first = owner.post(path, HELLO, Idempotency_Key="k")
    second = stranger.post(path, HELLO, Idempotency_Key="k")
    assert first.json()["id"] != second.json()["id"]


def test_ids_cannot_be_guessed(execution: Execution) -> None:
    assert execution.id.version == 4


PROTECTED = ("/api/v1/executions", "/api/v1/runtimes", "/api/v1/limits")


@pytest.mark.parametrize("path", PROTECTED)
def test_nobody_gets_in(db: None, nobody: Caller, path: str) -> None:
    answer = nobody.get(path)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "not_authenticated"
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer cp_" + "x" * 43,
        "Bearer " + "x" * 5000,
        "Bearer a b",
        "Bearer \xff\xfe",
        "Token {key}",
        "Basic {key}",
        "bearer{key}",
        "Bearer {key}x",
        "Bearer {key} x",
        "Bearer {digest}",
    ],
)
def test_a_wrong_key_is_refused(owner: Caller, header: str) -> None:
    key = ApiKey.objects.get(user=owner.user)
    sent = header.format(key=owner.key, digest=key.digest)
    answer = owner.get("/api/v1/limits", Authorization=sent)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_key"
    assert owner.key not in answer.content.decode()


@pytest.mark.parametrize(
    ("header", "beginning"),
    [
        ("Bearer nope", "The key is unknown"),
        ("Bearer cp_" + "x" * 40, "The key is unknown"),
        ("Token cp_" + "x" * 40, "Send the key as"),
        ("Bearer ", "Send the key as"),
    ],
)
def test_a_refused_key_is_told_what_is_wrong(
    owner: Caller, header: str, beginning: str
) -> None:
    answer = owner.get("/api/v1/limits", Authorization=header)
    assert answer.json()["error"]["message"].startswith(beginning)


def test_a_revoked_key_is_dead_soon(owner: Caller) -> None:
    assert owner.get("/api/v1/limits").status_code == 200
    ApiKey.objects.update(revoked_at=timezone.now())
    wait_until(
        lambda: owner.get("/api/v1/limits").status_code == 401, "refused", timeout_s=5
    )


@pytest.mark.django_db(transaction=True)
def test_a_deleted_user_is_told_so(owner: Caller) -> None:
    assert owner.get("/api/v1/limits").status_code == 200
    User.objects.all().delete()
    answer = owner.post("/api/v1/executions", HELLO)
    assert (answer.status_code, answer.json()["error"]["code"]) == (
        401,
        "invalid_key",
    )


def test_an_expired_key_is_refused(owner: Caller) -> None:
    ApiKey.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert owner.get("/api/v1/limits").status_code == 401


def test_the_key_of_an_inactive_user_is_refused(owner: Caller) -> None:
    assert owner.user is not None
    owner.user.is_active = False
    owner.user.save(update_fields=["is_active"])
    assert owner.get("/api/v1/limits").status_code == 401


@pytest.mark.parametrize("name", ["key", "api_key", "token", "access_token", "x"])
def test_a_key_in_the_url_is_refused(owner: Caller, name: str) -> None:
    for caller in (owner, Caller(None)):
        answer = caller.get(f"/api/v1/limits?{name}={owner.key}")
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "key_in_url"
        assert owner.key not in answer.content.decode()


def test_a_dump_holds_no_usable_key(owner: Caller, capsys: Any) -> None:
    call_command("dumpdata")
    dump = capsys.readouterr().out
    assert "accounts.apikey" in dump
    assert owner.key not in dump
    for text in re.findall(r'"((?:cp_|[0-9a-f]{40})[^"]*)"', dump):
        assert owner.get("/api/v1/limits", Authorization=f"Bearer {text}").status_code


@pytest.fixture
def browser(owner: Caller) -> Client:
    """The owner's, logged in, which checks CSRF as a real one's server does."""
    client = Client(enforce_csrf_checks=True)
    assert owner.user is not None
    client.force_login(owner.user)
    return client


def post(browser: Client, **headers: str) -> Any:
    return browser.post(
        "/api/v1/executions", HELLO, content_type="application/json", headers=headers
    )


@pytest.mark.slow
def test_a_session_needs_its_csrf_token(browser: Client) -> None:
    browser.get("/")
    for headers in ({}, {"X-CSRFToken": "x" * 64}):
        answer = post(browser, **headers)
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "csrf_failed"
    token = browser.cookies["csrftoken"].value
    assert post(browser, **{"X-CSRFToken": token}).status_code == 201


def test_a_form_of_another_site_does_nothing(browser: Client) -> None:
    answer = browser.post("/api/v1/executions", {"runtime": "python", "source": ""})
    assert answer.status_code in (403, 415)
    assert not Execution.objects.exists()


@pytest.mark.slow
def test_logging_in_changes_the_session(owner: Caller) -> None:
    assert owner.user is not None
    owner.user.password = make_password("correct horse")
    owner.user.save(update_fields=["password"])
    browser = Client()
    session = browser.session
    session["planted"] = True
    session.save()
    planted = session.session_key
    browser.cookies["sessionid"] = planted or ""
    form = {"username": "owner", "password": "correct horse"}
    browser.post("/accounts/login/", form)
    assert get_user(browser).is_authenticated
    assert browser.cookies["sessionid"].value != planted


FOREIGN_FIELDS = sorted(
    {field.name for field in Execution._meta.get_fields()}
    | {"owner_id", "is_staff", "priority", "worker", "id", "pk"}
)
SUBMITTED = {
    "runtime", "entry_point", "files", "stdin", "args", "env", "limits",
    "compile_limits",
}  # fmt: skip


@pytest.mark.parametrize("name", [n for n in FOREIGN_FIELDS if n not in SUBMITTED])
def test_no_other_field_can_be_set(owner: Caller, name: str) -> None:
    answer = owner.submit(**{name: 1})
    assert answer.status_code == 400
    assert list(answer.json()["error"]["fields"]) == [name]
    assert not Execution.objects.exists()


@pytest.mark.parametrize("verb", ["PUT", "PATCH", "DELETE"])
def test_nothing_can_be_changed_afterwards(
    owner: Caller, execution: Execution, verb: str
) -> None:
    before = Execution.objects.values().get()
    path = f"/api/v1/executions/{execution.id}"
    assert owner.request(verb, path, {"status": "finished"}).status_code == 405
    assert Execution.objects.values().get() == before


def test_a_cancel_takes_no_fields(owner: Caller, execution: Execution) -> None:
    path = f"/api/v1/executions/{execution.id}/cancel"
    answer = owner.post(path, {"status": "finished"})
    assert list(answer.json()["error"]["fields"]) == ["status"]
    assert owner.post(path, {}).status_code == 200
