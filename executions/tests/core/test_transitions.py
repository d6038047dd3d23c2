"""Every change of a claimed row names its lease; who lost it changes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from executions import outcomes
from executions.leases import Lease
from executions.models import Execution, Status
from executions.sandbox.base import End
from executions.sandbox.fake import finished
from executions.tests.core.conftest import SCOPE, lease, reload
from executions.verdicts import Verdict


@pytest.fixture
def mine() -> Lease:
    return lease()


@pytest.fixture
def claimed(execution: Execution, mine: Lease) -> Execution:
    found = Execution.objects.claim_next(mine, SCOPE)
    assert found is not None
    return found


def test_record_finishes_the_run_and_ends_the_lease(
    claimed: Execution, mine: Lease
) -> None:
    columns = outcomes.columns(finished(stdout=b"\x00out", stderr=b"\xff"))
    assert Execution.objects.record(claimed, mine, **columns)
    row = reload(claimed)
    assert (row.status, row.verdict) == (Status.FINISHED, Verdict.OK)
    assert (bytes(row.stdout), bytes(row.stderr)) == (b"\x00out", b"\xff")
    assert (row.lease_id, row.lease_until) == (None, None)
    assert row.recorded_at is not None


def test_record_takes_one_statement_and_keeps_every_value(
    claimed: Execution, mine: Lease, django_assert_num_queries: Any
) -> None:
    outcome = {
        **outcomes.columns(finished(stdout=b"\0%s%%", stderr=b"\xff")),
        **{"sent_ms": 3, "first_output_ms": None, "ended_ms": 70_000},
        "reason": "wrote %s and ä",
    }
    with django_assert_num_queries(1):
        assert Execution.objects.record(claimed, mine, **outcome)
    row = reload(claimed)
    for name, value in outcome.items():
        kept = getattr(row, name)
        assert (bytes(kept) if isinstance(value, bytes) else kept) == value


def test_record_of_a_cancelled_run_has_no_verdict(
    claimed: Execution, mine: Lease
) -> None:
    cut = finished(end=End.CANCELLED)
    assert Execution.objects.record(claimed, mine, **outcomes.columns(cut))
    row = reload(claimed)
    assert (row.status, row.verdict) == (Status.CANCELLED, None)


def test_record_happens_once(claimed: Execution, mine: Lease) -> None:
    Execution.objects.record(claimed, mine, **outcomes.columns(finished()))
    again = outcomes.columns(finished(exit_code=1))
    assert not Execution.objects.record(claimed, mine, **again)
    assert reload(claimed).verdict == Verdict.OK


def test_record_is_refused_to_an_earlier_owner(claimed: Execution, mine: Lease) -> None:
    Execution.objects.hand_over(claimed, mine)
    adopted = Execution.objects.adopt_next(lease("other"), SCOPE, judges=False)
    assert adopted == claimed
    late = outcomes.columns(finished())
    assert not Execution.objects.record(claimed, mine, **late)
    assert reload(claimed).status == Status.STARTING


def test_mark_running_needs_the_lease(claimed: Execution, mine: Lease) -> None:
    assert Execution.objects.mark_running([lease()]) == 0
    assert Execution.objects.mark_running([mine]) == 1
    assert reload(claimed).status == Status.RUNNING


def test_a_programs_time_begins_when_it_was_sent(
    claimed: Execution, mine: Lease
) -> None:
    budget = timedelta(milliseconds=claimed.budget_ms)

    def is_fresh() -> bool:
        deadline = reload(claimed).deadline_at
        assert deadline is not None
        return abs(deadline - timezone.now() - budget) < timedelta(seconds=30)

    late = timezone.now() - timedelta(hours=1)
    Execution.objects.update(deadline_at=late)
    Execution.objects.mark_running([mine])
    assert is_fresh()
    Execution.objects.update(deadline_at=late)
    assert not is_fresh()
    assert Execution.objects.hand_over(claimed, mine, is_first=True)
    assert is_fresh()


def test_who_adopted_a_run_gives_it_no_more_time(
    claimed: Execution, mine: Lease
) -> None:
    before = reload(claimed).deadline_at
    assert Execution.objects.hand_over(claimed, mine)
    assert reload(claimed).deadline_at == before


def test_give_back_undoes_the_claim(claimed: Execution, mine: Lease) -> None:
    assert Execution.objects.give_back(claimed, mine)
    row = reload(claimed)
    assert (row.status, row.attempt, row.lease_id) == (Status.QUEUED, 0, None)


@pytest.mark.parametrize(("how", "failures"), [("retry", 1), ("postpone", 0)])
def test_another_attempt_comes_later(
    claimed: Execution, mine: Lease, how: str, failures: int
) -> None:
    change = getattr(Execution.objects, how)
    assert change(claimed, mine, timedelta(hours=1), "it broke")
    row = reload(claimed)
    assert (row.failures, row.reason) == (failures, "it broke")
    assert Execution.objects.claim_next(lease(), SCOPE) is None
    Execution.objects.update(due_at=claimed.queued_at)
    again = Execution.objects.claim_next(lease(), SCOPE)
    assert again is not None
    assert (again.attempt, again.key) == (2, f"{again.pk}-2")


@pytest.mark.parametrize("change", ["give_back", "hand_over"])
def test_nothing_changes_under_a_lost_lease(claimed: Execution, change: str) -> None:
    before = reload(claimed)
    assert not getattr(Execution.objects, change)(claimed, lease())
    after = reload(claimed)
    assert (after.status, after.lease_id) == (before.status, before.lease_id)


def test_extend_tells_which_leases_hold_and_which_runs_to_cancel(
    claimed: Execution, mine: Lease
) -> None:
    strange = lease()
    assert Execution.objects.extend([mine, strange]) == {mine.id: False}
    Execution.objects.request_cancel(claimed.pk)
    assert Execution.objects.extend([mine]) == {mine.id: True}
    assert Execution.objects.extend([]) == {}


def test_the_database_refuses_a_verdict_without_an_end(execution: Execution) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Execution.objects.update(verdict=Verdict.OK)
    with pytest.raises(IntegrityError), transaction.atomic():
        Execution.objects.update(status=Status.FINISHED)
