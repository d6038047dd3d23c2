from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import models
from accounts.models import HOLDER_FIELDS, ApiKey, User


@pytest.fixture
def owner(db: None) -> User:
    return User.objects.create_user("owner", email="o@example.org", is_staff=True)


def test_holder_is_the_user_of_the_key(owner: User) -> None:
    User.objects.create_user("stranger", is_superuser=True)
    _, text = ApiKey.objects.issue(owner, "mine")
    found = ApiKey.objects.holder(text)
    assert found == owner
    for name in HOLDER_FIELDS:
        assert getattr(found, name) == getattr(owner, name)
        assert type(getattr(found, name)) is type(getattr(owner, name))


def test_holder_loads_the_rest_when_asked(owner: User) -> None:
    _, text = ApiKey.objects.issue(owner, "mine")
    found = ApiKey.objects.holder(text)
    assert found is not None
    assert (found.email, found.date_joined) == (owner.email, owner.date_joined)


def test_holder_costs_one_query_now_and_then(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = ApiKey.objects.issue(owner, "mine")
    for known_for_s, expected in ((3600, 1), (3600, 0)):
        monkeypatch.setattr(models, "KNOWN_FOR_S", known_for_s)
        with CaptureQueriesContext(connection) as queries:
            assert ApiKey.objects.holder(text) == owner
        assert len(queries) == expected


def test_what_is_known_of_keys_is_bounded(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "MOST_KNOWN", 3)
    texts = [ApiKey.objects.issue(owner, f"key {n}")[1] for n in range(5)]
    assert [ApiKey.objects.holder(text) for text in texts] == [owner] * 5
    assert len(models._known) <= 3


def test_unusable_keys_are_not_kept(owner: User) -> None:
    models._known.clear()
    past = timezone.now() - timedelta(seconds=1)
    _, text = ApiKey.objects.issue(owner, "lost", revoked_at=past)
    assert ApiKey.objects.holder(text) is None
    assert models._known == {}


def test_holder_of_an_unusable_key_is_nobody(owner: User) -> None:
    past = timezone.now() - timedelta(seconds=1)
    _, expired = ApiKey.objects.issue(owner, "old", expires_at=past)
    _, revoked = ApiKey.objects.issue(owner, "lost", revoked_at=past)
    _, fresh = ApiKey.objects.issue(
        owner, "new", expires_at=timezone.now() + timedelta(days=1)
    )
    holder = ApiKey.objects.holder
    assert [holder(t) for t in (expired, revoked, "", "cp_x")] == [None] * 4
    assert holder(fresh) == owner
    User.objects.update(is_active=False)
    _, newer = ApiKey.objects.issue(owner, "newer")
    assert holder(newer) is None


def test_issue_keeps_no_text(owner: User) -> None:
    key, text = ApiKey.objects.issue(owner, "mine")
    stored = ApiKey.objects.filter(pk=key.pk).values().get()
    assert all(text not in str(value) for value in stored.values())
    assert len(text) > len(stored["hint"]) + 30


def test_create_api_key_prints_a_key_that_works(db: None, capsys: Any) -> None:
    call_command("create_api_key", "ada", "--create-user", "--quiet")
    text = capsys.readouterr().out.strip()
    found = ApiKey.objects.holder(text)
    assert found is not None
    assert (found.username, found.has_usable_password()) == ("ada", False)


def test_create_api_key_sets_an_end(owner: User, capsys: Any) -> None:
    call_command("create_api_key", "owner", "--expires-days", "3", "--name", "ci")
    key = ApiKey.objects.get(name="ci")
    assert key.expires_at is not None
    assert timedelta(days=2) < key.expires_at - timezone.now() < timedelta(days=4)
    assert "once" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nobody"],
        ["bad name", "--create-user"],
        ["owner", "--expires-days", "0"],
        ["owner", "--expires-days", "99999999999"],
    ],
)
def test_create_api_key_says_what_is_wrong(owner: User, arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("create_api_key", *arguments)
    assert not ApiKey.objects.exists()


def test_create_api_key_refuses_inactive_users(owner: User) -> None:
    User.objects.update(is_active=False)
    with pytest.raises(CommandError, match="not active"):
        call_command("create_api_key", "owner")
