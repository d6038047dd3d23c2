"""Who may see and do what on the pages (A1, A2)."""

from __future__ import annotations

import re
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import ApiKey, User
from executions.models import Execution
from executions.tests.page.conftest import PASSWORD, MakeExecution, log_in

OBJECT_PAGES = ("detail", "result")
OBJECT_ACTIONS = ("cancel", "again")


def addresses(pk: object) -> list[str]:
    pages = [reverse(f"executions:{name}", args=[pk]) for name in OBJECT_PAGES]
    return [*pages, reverse("executions:output", args=[pk, "stdout"])]


def without_token(content: bytes) -> bytes:
    """Leave out the token of the log-out form, which is masked anew each time."""
    return re.sub(rb'name="csrfmiddlewaretoken" value="\w+"', b"", content)


@pytest.mark.parametrize(
    "address", ["/", "/executions/", "/accounts/api-keys/", *addresses(UUID(int=7))]
)
def test_page_sends_the_anonymous_to_log_in(
    db: None, client: Client, address: str
) -> None:
    answer = client.get(address)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/accounts/login/?next=")


def test_page_shows_the_owner_everything(
    page: Client, make_execution: MakeExecution
) -> None:
    for address in addresses(make_execution().pk):
        assert page.get(address).status_code == 200


@pytest.mark.parametrize("who", ["stranger", "staff"])
def test_page_hides_what_belongs_to_others(
    request: pytest.FixtureRequest, who: str, make_execution: MakeExecution
) -> None:
    client = log_in(request.getfixturevalue(who))
    theirs, unknown = make_execution().pk, uuid4()
    for address, other in zip(addresses(theirs), addresses(unknown), strict=True):
        answer = client.get(address)
        assert answer.status_code == 404
        assert without_token(answer.content) == without_token(client.get(other).content)


def test_page_lets_no_stranger_act(
    stranger: User, make_execution: MakeExecution
) -> None:
    execution = make_execution(status="queued")
    client = log_in(stranger)
    for name in OBJECT_ACTIONS:
        address = reverse(f"executions:{name}", args=[execution.pk])
        assert client.post(address).status_code == 404
    execution.refresh_from_db()
    assert execution.status == "queued"
    assert Execution.objects.count() == 1


def test_page_loads_no_strangers_program_into_the_editor(
    stranger: User, make_execution: MakeExecution
) -> None:
    execution = make_execution(stdin=b"their input")
    answer = log_in(stranger).get(f"/?from={execution.pk}")
    assert answer.status_code == 200
    assert b"their input" not in answer.content
    assert str(execution.pk).encode() not in answer.content


def test_page_takes_no_files_of_a_strangers_program(
    stranger: User, make_execution: MakeExecution
) -> None:
    secret = {"path": "secret.txt", "content": "c2VjcmV0"}
    earlier = make_execution()
    earlier.files.append(secret)
    earlier.save(update_fields=["files"])
    answer = log_in(stranger).post(
        "/",
        {
            "based_on": str(earlier.pk),
            "runtime": "python",
            "source": "1",
            "keep": "secret.txt",
        },
    )
    assert answer.status_code == 400
    assert not Execution.objects.visible_to(stranger).exists()


@pytest.mark.parametrize("name", OBJECT_ACTIONS)
def test_page_acts_only_on_post(
    page: Client, make_execution: MakeExecution, name: str
) -> None:
    address = reverse(f"executions:{name}", args=[make_execution().pk])
    assert page.get(address).status_code == 405


def test_page_refuses_every_form_without_a_token(
    owner: User, make_execution: MakeExecution
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    pk = make_execution().pk
    key, _text = ApiKey.objects.issue(owner, "laptop")
    forms = [
        "/",
        *(reverse(f"executions:{name}", args=[pk]) for name in OBJECT_ACTIONS),
        "/accounts/login/",
        "/accounts/logout/",
        "/accounts/password/",
        "/accounts/api-keys/",
        f"/accounts/api-keys/{key.pk}/revoke/",
    ]
    for address in forms:
        answer = client.post(address, {"runtime": "python", "source": "1"})
        assert answer.status_code == 403, address
        assert b"The form has expired" in answer.content
    assert Execution.objects.count() == 1


def test_log_in_makes_a_new_session(owner: User, client: Client) -> None:
    session = client.session
    session["mark"] = "planted"
    session.save()
    client.cookies["sessionid"] = planted = session.session_key or ""
    answer = client.post(
        "/accounts/login/", {"username": "owner", "password": PASSWORD}
    )
    assert answer["Location"] == "/"
    assert client.cookies["sessionid"].value != planted


def test_log_in_leads_to_no_other_host(owner: User, client: Client) -> None:
    answer = client.post(
        "/accounts/login/?next=https://evil.example/",
        {"username": "owner", "password": PASSWORD, "next": "//evil.example/"},
    )
    assert answer["Location"] == "/"


def test_log_in_refuses_a_wrong_password(owner: User, client: Client) -> None:
    answer = client.post("/accounts/login/", {"username": "owner", "password": "wrong"})
    assert answer.status_code == 200
    assert "_auth_user_id" not in client.session


def test_log_out_ends_the_session(page: Client) -> None:
    page.post("/accounts/logout/")
    assert page.get("/").status_code == 302
