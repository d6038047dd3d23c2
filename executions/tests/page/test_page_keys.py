"""The page of API keys: the text once, the digest never."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from accounts.models import ApiKey, User, digest
from executions.tests.page.conftest import log_in

ADDRESS = "/accounts/api-keys/"
KEY = re.compile(r'value="(cp_[\w-]{20,})"')


def create(page: Client, **fields: str) -> str:
    text = page.post(ADDRESS, {"name": "laptop", **fields}).content.decode()
    found = KEY.search(text)
    assert found, text
    return found[1]


def test_keys_show_a_new_one_once(page: Client) -> None:
    text = create(page)
    key = ApiKey.objects.get()
    assert key.digest == digest(text)
    again = page.get(ADDRESS).content.decode()
    assert text not in again
    assert key.hint in again
    assert key.digest not in again


def test_keys_are_not_kept_by_caches(page: Client) -> None:
    assert "no-store" in page.post(ADDRESS, {"name": "x"})["Cache-Control"]


def test_keys_run_programs(page: Client) -> None:
    answer = Client().get(
        "/api/v1/executions", headers={"Authorization": f"Bearer {create(page)}"}
    )
    assert answer.status_code == 200


def test_keys_end_when_asked_to(page: Client) -> None:
    create(page, lifetime="30")
    key = ApiKey.objects.get()
    assert key.expires_at is not None
    assert (key.expires_at - key.created_at).days in (29, 30)


@pytest.mark.parametrize(
    "fields",
    [{"name": ""}, {"name": "x" * 101}, {"name": "x", "lifetime": "99999999999"}],
)
def test_keys_refuse_nonsense(page: Client, fields: dict[str, str]) -> None:
    assert page.post(ADDRESS, fields).status_code == 400
    assert not ApiKey.objects.exists()


def test_revoke_ends_a_key_at_once(page: Client) -> None:
    text = create(page)
    answer = page.post(f"{ADDRESS}{ApiKey.objects.get().pk}/revoke/", follow=True)
    assert "was revoked" in answer.content.decode()
    refused = Client().get(
        "/api/v1/executions", headers={"Authorization": f"Bearer {text}"}
    )
    assert refused.status_code == 401


def test_revoke_keeps_the_first_time(page: Client, owner: User) -> None:
    key, _text = ApiKey.objects.issue(owner, "laptop")
    page.post(f"{ADDRESS}{key.pk}/revoke/")
    first = ApiKey.objects.get().revoked_at
    page.post(f"{ADDRESS}{key.pk}/revoke/")
    assert ApiKey.objects.get().revoked_at == first


def test_keys_of_others_are_not_there(owner: User, stranger: User) -> None:
    key, _text = ApiKey.objects.issue(owner, "secret name")
    client = log_in(stranger)
    assert "secret name" not in client.get(ADDRESS).content.decode()
    assert client.post(f"{ADDRESS}{key.pk}/revoke/").status_code == 404
    assert ApiKey.objects.get().revoked_at is None


def test_password_can_be_changed(page: Client, owner: User) -> None:
    answer = page.post(
        "/accounts/password/",
        {
            "old_password": "correct horse battery",
            "new_password1": "staple tr0ubador",
            "new_password2": "staple tr0ubador",
        },
    )
    assert answer["Location"] == "/"
    owner.refresh_from_db()
    assert owner.check_password("staple tr0ubador")
