"""The same POST, sent any number of times, has one effect: row R14."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from executions import services
from executions.models import Execution, IdempotencyKey
from executions.tests.api.conftest import HELLO, Caller

PATH = "/api/v1/executions"


def test_a_repeated_submit_has_one_effect(owner: Caller) -> None:
    first = owner.post(PATH, HELLO, Idempotency_Key="k")
    again = owner.post(PATH, HELLO, Idempotency_Key="k")
    assert Execution.objects.count() == 1
    assert (again.status_code, again["Location"]) == (201, first["Location"])
    assert again.json() == first.json()
    assert "Idempotent-Replayed" not in first
    assert again["Idempotent-Replayed"] == "true"


def test_a_repeat_answers_as_the_first_did(owner: Caller) -> None:
    first = owner.post(PATH, HELLO, Idempotency_Key="k")
    Execution.objects.update(status="finished", verdict="ok", attempt=1)
    assert owner.post(PATH, HELLO, Idempotency_Key="k").json() == first.json()
    waiting = owner.post(f"{PATH}?wait=1", HELLO, Idempotency_Key="k").json()
    assert waiting["status"] == "finished"


def test_another_body_under_the_same_key_is_refused(owner: Caller) -> None:
    owner.post(PATH, HELLO, Idempotency_Key="k")
    answer = owner.post(PATH, {**HELLO, "source": "x"}, Idempotency_Key="k")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "idempotency_conflict"
    assert Execution.objects.count() == 1


def test_other_keys_are_other_requests(owner: Caller) -> None:
    for key in ("a", "b", None):
        headers = {"Idempotency_Key": key} if key else {}
        owner.post(PATH, HELLO, **headers)
    assert Execution.objects.count() == 3


def test_a_refused_submit_takes_no_key(owner: Caller) -> None:
    assert owner.post(PATH, {}, Idempotency_Key="k").status_code == 400
    assert owner.post(PATH, HELLO, Idempotency_Key="k").status_code == 201


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a b", "é", "a\tb"])
def test_a_strange_key_is_refused(owner: Caller, key: str) -> None:
    answer = owner.post(PATH, HELLO, Idempotency_Key=key)
    assert answer.status_code == 400
    assert list(answer.json()["error"]["fields"]) == ["Idempotency-Key"]
    assert not Execution.objects.exists()


def test_cancel_can_be_repeated(owner: Caller, execution: Execution) -> None:
    path, told = f"{PATH}/{execution.id}/cancel", []
    for _ in range(2):
        answer = owner.post(path, Idempotency_Key="k")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        told.append(answer.headers.get("Idempotent-Replayed"))
    assert told == [None, "true"]


def test_a_key_of_a_submit_cancels_nothing(owner: Caller, execution: Execution) -> None:
    owner.post(PATH, HELLO, Idempotency_Key="k")
    answer = owner.post(f"{PATH}/{execution.id}/cancel", Idempotency_Key="k")
    assert answer.status_code == 409
    execution.refresh_from_db()
    assert execution.status == "queued"


def test_old_keys_are_forgotten(owner: Caller, settings: Any) -> None:
    for key in ("old", "new"):
        owner.post(PATH, HELLO, Idempotency_Key=key)
    age = timedelta(hours=settings.IDEMPOTENCY_RETENTION_HOURS, seconds=1)
    IdempotencyKey.objects.filter(key="old").update(created_at=timezone.now() - age)
    assert services.prune_idempotency_keys() == 1
    assert IdempotencyKey.objects.get().key == "new"


@pytest.mark.db
@pytest.mark.django_db(transaction=True)
def test_parallel_repeats_have_one_effect(owner: Caller) -> None:
    def send(_: int) -> tuple[int, str, str]:
        try:
            answer = owner.post(PATH, HELLO, Idempotency_Key="k")
            return answer.status_code, answer["Location"], answer.content.decode()
        finally:
            connection.close()

    with ThreadPoolExecutor(50) as threads:
        answers = set(threads.map(send, range(50)))
    ((status, location, body),) = answers
    row = Execution.objects.get()
    assert (status, location) == (201, f"{PATH}/{row.id}")
    assert json.loads(body)["id"] == str(row.id)


@pytest.mark.db
@pytest.mark.django_db(transaction=True)
def test_parallel_others_under_one_key_are_refused(owner: Caller) -> None:
    def send(number: int) -> int:
        try:
            body = {**HELLO, "source": f"print({number})"}
            answer = owner.post(PATH, body, Idempotency_Key="k")
            status: int = answer.status_code
            return status
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as threads:
        statuses = sorted(threads.map(send, range(20)))
    assert statuses == [201] + [409] * 19
    assert Execution.objects.count() == 1
