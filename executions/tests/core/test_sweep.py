"""What the scheduler sees to besides bells: lost machines, and old rows."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from executions import services
from executions.models import Execution, Status
from executions.tests.core.conftest import Submit, expire, lease, reload
from executions.verdicts import Verdict

DAY = timedelta(days=1)


@pytest.fixture
def lost(execution: Execution) -> Execution:
    """A run on a machine that went away a while after its deadline."""
    Execution.objects.claim_next(lease("dead"), "elsewhere")
    expire(execution)
    Execution.objects.update(deadline_at=Now() - timedelta(minutes=1))
    return execution


def test_a_lost_machines_run_starts_again(lost: Execution) -> None:
    assert services.give_up_unreachable() == 1
    row = reload(lost)
    assert (row.status, row.attempt, row.lease_id) == (Status.QUEUED, 1, None)
    again = Execution.objects.claim_next(lease(), "here")
    assert again is not None
    assert again.attempt == 2


def test_a_lost_machines_run_ends_after_the_last_attempt(
    lost: Execution, settings: Any
) -> None:
    Execution.objects.update(failures=settings.MAX_ATTEMPTS - 1)
    assert services.give_up_unreachable() == 1
    row = reload(lost)
    assert (row.status, row.verdict) == (Status.FINISHED, Verdict.SYSTEM_ERROR)
    assert "did not come back" in row.reason


def test_a_lost_machine_has_until_the_deadline_and_a_grace(lost: Execution) -> None:
    Execution.objects.update(deadline_at=Now() - timedelta(seconds=20))
    assert services.give_up_unreachable() == 0


@pytest.mark.parametrize(("minutes", "given_up"), [(20, 0), (40, 1)])
def test_a_run_in_a_pod_has_all_the_time_that_a_pod_may_be_waited_for(
    lost: Execution, minutes: int, given_up: int
) -> None:
    late = Now() - timedelta(minutes=minutes)
    Execution.objects.update(sandbox="pods:sandboxes", deadline_at=late)
    assert services.give_up_unreachable() == given_up


def test_an_owned_run_is_nobody_elses_business(lost: Execution) -> None:
    Execution.objects.update(lease_until=Now() + timedelta(seconds=5))
    assert services.give_up_unreachable() == 0


@pytest.fixture
def aged(submit: Submit) -> dict[str, Execution]:
    rows = {name: submit() for name in ("old", "new", "queued")}
    for name, age in (("old", 31 * DAY), ("new", DAY)):
        Execution.objects.cancel_queued(rows[name].pk)
        Execution.objects.filter(pk=rows[name].pk).update(recorded_at=Now() - age)
    Execution.objects.filter(pk=rows["queued"].pk).update(queued_at=Now() - 99 * DAY)
    return rows


def left() -> set[Any]:
    return set(Execution.objects.values_list("pk", flat=True))


def prune(*args: str) -> str:
    out = StringIO()
    call_command("prune_executions", *args, stdout=out)
    return out.getvalue().strip()


def test_prune_deletes_what_ended_long_ago(aged: dict[str, Execution]) -> None:
    assert prune() == "1 executions older than 30 days deleted"
    assert left() == {aged["new"].pk, aged["queued"].pk}


def test_prune_reads_no_programs_and_outputs(
    aged: dict[str, Execution], django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(10) as captured:
        prune()
    assert not [each["sql"] for each in captured if "stdout" in each["sql"]]


def test_prune_only_counts_in_a_dry_run(aged: dict[str, Execution]) -> None:
    printed = prune("--dry-run", "--older-than-days", "0.5")
    assert printed == "2 executions older than 0.5 days would be deleted"
    assert len(left()) == 3


def test_prune_wants_an_age_when_everything_is_kept(
    aged: dict[str, Execution], settings: Any
) -> None:
    settings.RETENTION_DAYS = 0
    with pytest.raises(CommandError, match="nothing is deleted"):
        prune()
    with pytest.raises(CommandError):
        prune("--older-than-days", "-1")
    assert len(left()) == 3
