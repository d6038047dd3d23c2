"""Users and API keys in the admin."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from accounts.models import ApiKey, User, digest
from executions.tests.page.conftest import MakeExecution, log_in

LIST = "/admin/accounts/apikey/"


@pytest.fixture
def admin_page(staff: User) -> Client:
    return log_in(staff)


def test_admin_shows_a_new_key_once(admin_page: Client, owner: User) -> None:
    answer = admin_page.post(f"{LIST}add/", {"user": owner.pk, "name": "laptop"})
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    found = re.search(r">(cp_[\w-]{20,})<", answer.content.decode())
    assert found
    key = ApiKey.objects.get()
    assert (key.user, key.digest) == (owner, digest(found[1]))
    for address in (LIST, f"{LIST}{key.pk}/change/", f"{LIST}{key.pk}/history/"):
        text = admin_page.get(address).content.decode()
        assert found[1] not in text
        assert key.digest not in text


def test_admin_keeps_the_keys_text_nowhere(admin_page: Client, owner: User) -> None:
    answer = admin_page.post(f"{LIST}add/", {"user": owner.pk, "name": "laptop"})
    found = re.search(r">(cp_[\w-]{20,})<", answer.content.decode())
    assert found
    cookies = "".join(morsel.value for morsel in admin_page.cookies.values())
    assert found[1] not in cookies
    assert found[1] not in str(dict(admin_page.session))


def test_admin_changes_a_name_but_never_the_owner(
    admin_page: Client, owner: User, stranger: User
) -> None:
    key, _text = ApiKey.objects.issue(owner, "laptop")
    admin_page.post(
        f"{LIST}{key.pk}/change/",
        {"name": "desk", "user": stranger.pk, "digest": "0" * 64, "hint": "x"},
    )
    changed = ApiKey.objects.get()
    assert changed.name == "desk"
    assert (changed.user, changed.digest, changed.hint) == (
        owner,
        key.digest,
        key.hint,
    )


def test_admin_revokes(admin_page: Client, owner: User) -> None:
    key, text = ApiKey.objects.issue(owner, "laptop")
    admin_page.post(LIST, {"action": "revoke", "_selected_action": [key.pk]})
    answer = Client().get(
        "/api/v1/executions", headers={"Authorization": f"Bearer {text}"}
    )
    assert answer.status_code == 401


@pytest.mark.parametrize("query", ["?q=lap", "?q=owner", "?revoked_at__isempty=1"])
def test_admin_finds_keys(admin_page: Client, owner: User, query: str) -> None:
    ApiKey.objects.issue(owner, "laptop")
    assert "laptop" in admin_page.get(f"{LIST}{query}").content.decode()


def test_admin_makes_users(admin_page: Client) -> None:
    fields = {
        "username": "new",
        "password1": "staple tr0ubador",
        "password2": "staple tr0ubador",
        "usable_password": "true",
    }
    assert admin_page.post("/admin/accounts/user/add/", fields).status_code == 302
    assert User.objects.get(username="new").check_password("staple tr0ubador")


def test_admin_deletes_no_user_with_executions(
    admin_page: Client, owner: User, make_execution: MakeExecution
) -> None:
    make_execution()
    answer = admin_page.post(
        f"/admin/accounts/user/{owner.pk}/delete/", {"post": "yes"}
    )
    assert answer.status_code == 403
    assert User.objects.filter(pk=owner.pk).exists()
