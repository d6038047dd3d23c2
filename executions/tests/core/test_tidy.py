"""Sandboxes whose run is over end, also when nobody acknowledged the outcome."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from executions.models import Execution
from executions.runs import spec_of
from executions.sandbox.fake import HOLD, FakeRun, FakeSandbox
from executions.tests.core.conftest import SCOPE, eventually, lease, reload
from executions.worker import Worker

pytestmark = pytest.mark.django_db(transaction=True)

MakeWorker = Callable[..., Worker]


def start(sandbox: FakeSandbox) -> tuple[Execution, FakeRun]:
    """Claim the one execution that is due and start it, as an owner would."""
    sandbox.script(HOLD)
    owner = lease("owner")
    claimed = Execution.objects.claim_next(owner, SCOPE)
    assert claimed is not None
    sandbox.start(spec_of(claimed))
    return claimed, sandbox.run(claimed.key)


def test_settled_names_keys_of_ended_runs_and_earlier_attempts(
    execution: Execution, sandbox: FakeSandbox
) -> None:
    claimed, _ = start(sandbox)
    earlier = f"{claimed.pk}-{claimed.attempt - 1}"
    strangers = ["doctor", f"{uuid.uuid4()}-1"]
    keys = [claimed.key, earlier, *strangers]
    assert Execution.objects.settled(keys) == [earlier]
    owner = lease("owner")
    Execution.objects.filter(pk=claimed.pk).update(lease_id=owner.id)
    assert Execution.objects.record(claimed, owner, verdict="ok")
    assert Execution.objects.settled(keys) == [claimed.key, earlier]


def test_tidy_ends_what_a_worker_recorded_but_never_acknowledged(
    execution: Execution,
    sandbox: FakeSandbox,
    make_worker: MakeWorker,
) -> None:
    claimed, held = start(sandbox)
    owner = lease("dead")
    Execution.objects.filter(pk=claimed.pk).update(lease_id=owner.id)
    Execution.objects.record(claimed, owner, verdict="ok")
    make_worker()
    eventually(lambda: held.is_dead)
    assert reload(execution).verdict == "ok"
