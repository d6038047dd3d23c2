"""What is read from a pod's object."""

from __future__ import annotations

from typing import Any

import pytest

from executions.sandbox import pods
from executions.sandbox.pods import Fate


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "uid": "u"}, "spec": {}, "status": status}


def container(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "sandbox", "state": state}]}


def condition(**fields: Any) -> dict[str, Any]:
    return {"conditions": [fields]}


@pytest.mark.parametrize(
    ("status", "fate", "words"),
    [
        # Seen where the kernel killed a child: PID 1 ended well afterwards.
        (
            container(terminated={"reason": "OOMKilled", "exitCode": 0}),
            Fate.MEMORY,
            "out of memory",
        ),
        (
            {"phase": "Failed", "reason": "DeadlineExceeded"},
            Fate.DEADLINE,
            "older than",
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "low on memory"},
            Fate.EVICTED,
            "low on memory",
        ),
        (
            {"phase": "Failed", "reason": "OutOfcpu", "message": "no cpu"},
            Fate.REFUSED,
            "OutOfcpu",
        ),
        (
            condition(
                type="DisruptionTarget", status="True", reason="DeletionByTaintManager"
            ),
            Fate.EVICTED,
            "DeletionByTaintManager",
        ),
        (
            container(terminated={"reason": "Error", "exitCode": 3}),
            Fate.ENDED,
            "exit status 3",
        ),
        ({"phase": "Succeeded"}, Fate.ENDED, "Succeeded"),
    ],
)
def test_fate(status: dict[str, Any], fate: Fate, words: str) -> None:
    found = pods.fate(pod(**status))
    assert found is not None
    assert found[0] is fate
    assert words in found[1]


def test_pod_that_lives_has_no_fate() -> None:
    assert pods.fate(pod(phase="Running", podIP="10.0.0.1")) is None


def test_deleted_pod_has_one_whatever_it_last_said() -> None:
    last = pod(phase="Running")
    assert pods.fate(last, is_deleted=True) == (Fate.DELETED, "the pod was deleted")
    last["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert pods.fate(last) == (Fate.DELETED, "the pod was deleted")


@pytest.mark.parametrize(
    ("waiting", "is_ours"),
    [
        ({"reason": "ErrImagePull", "message": "not found"}, True),
        ({"reason": "ErrImagePull", "message": "pull QPS exceeded"}, False),
        ({"reason": "InvalidImageName"}, True),
        ({"reason": "CreateContainerConfigError"}, True),
    ],
)
def test_problem_of_a_container(waiting: dict[str, Any], is_ours: bool) -> None:
    found = pods.problem(pod(**container(waiting=waiting)))
    assert found is not None
    assert found.is_ours is is_ours
    assert waiting["reason"] in found.text


def test_no_room_may_pass() -> None:
    status = condition(type="PodScheduled", reason="Unschedulable", message="0/1 nodes")
    found = pods.problem(pod(**status))
    assert found == pods.Problem("no node has room: 0/1 nodes", False)


def test_container_that_is_being_made_is_no_problem() -> None:
    assert (
        pods.problem(pod(**container(waiting={"reason": "ContainerCreating"}))) is None
    )
