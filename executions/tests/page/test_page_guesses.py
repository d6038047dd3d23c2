"""Passwords cannot be guessed at leisure, at neither of the two log-in pages (A2)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.test import Client, RequestFactory

from accounts import guesses
from accounts.guesses import MAX_FAILURES
from accounts.models import User
from executions.tests.page.conftest import PASSWORD

PAGES = ["/accounts/login/", "/admin/login/"]


@pytest.fixture(autouse=True)
def no_earlier_guesses() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def is_let_in(
    page: str, username: str, password: str = PASSWORD, address: str = "192.0.2.1"
) -> bool:
    client = Client(REMOTE_ADDR=address)
    client.post(page, {"username": username, "password": password})
    return "_auth_user_id" in client.session


def guess(page: str, username: str, times: int) -> None:
    for number in range(times):
        assert not is_let_in(page, username, f"guess {number}")


@pytest.mark.parametrize("page", PAGES)
def test_guesses_end_after_some(staff: User, page: str) -> None:
    guess(page, "staff", MAX_FAILURES)
    assert not is_let_in(page, "staff")
    assert not is_let_in(page, "STAFF")


def test_guesses_at_one_page_count_at_the_other(staff: User) -> None:
    guess(PAGES[0], "staff", MAX_FAILURES)
    assert not is_let_in(PAGES[1], "staff")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_guesses_below_the_bound_do_no_harm(staff: User, page: str) -> None:
    for _ in range(3):
        guess(page, "staff", MAX_FAILURES - 1)
        assert is_let_in(page, "staff")


def test_guesses_lock_out_nobody_elsewhere(owner: User, stranger: User) -> None:
    guess(PAGES[0], "owner", MAX_FAILURES)
    assert is_let_in(PAGES[0], "stranger")
    assert is_let_in(PAGES[0], "owner", address="192.0.2.2")


def test_guesses_are_answered_in_words(owner: User, client: Client) -> None:
    for _ in range(MAX_FAILURES + 1):
        wrong = {"username": "owner", "password": "x"}
        answer = client.post(PAGES[0], wrong)
    assert b"Too many wrong passwords" in answer.content


@pytest.mark.parametrize("username", ["", "\x00", "\n", "x" * 10_000])
def test_guesses_survive_any_name(db: None, username: str) -> None:
    assert not is_let_in(PAGES[0], username)


def test_guesses_at_many_names_make_none_forgotten() -> None:
    request = RequestFactory().post("/")
    for _ in range(MAX_FAILURES):
        guesses.count(request, "staff")
    for number in range(5_000):
        guesses.count(request, f"name {number}")
    assert guesses.are_too_many(request, "staff")
