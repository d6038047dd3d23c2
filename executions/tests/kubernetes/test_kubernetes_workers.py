"""Whole deployments whose programs run in pods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from executions.tests.kubernetes.conftest import IMAGE
from testing.deployment import Deployment

pytestmark = pytest.mark.cluster


@pytest.fixture
def deployment(namespace: str) -> Iterator[Deployment]:
    settings = {
        "SANDBOX_BACKEND": "kubernetes",
        "SANDBOX_NAMESPACE": namespace,
        "SANDBOX_IMAGE": IMAGE,
    }
    with Deployment(workers=2, concurrency=4, settings=settings) as made:
        yield made


def test_hello_over_http(deployment: Deployment) -> None:
    answer = deployment.client().submit(
        wait_s=60, runtime="python", source="print('from a pod')"
    )
    assert answer.status == 201
    assert (answer.body["verdict"], answer.body["reason"]) == ("ok", "")
    assert answer.body["run"]["stdout"] == "from a pod\n"
