"""Requests made up from the OpenAPI document, right and wrong ones: row A10."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from executions.tests.api.conftest import HELLO, Web

pytestmark = pytest.mark.load

EXAMPLES = 150  # of which some one in fifteen is right by chance
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPERATIONS = {
    "submit_execution",
    "list_executions",
    "read_execution",
    "cancel_execution",
    "list_runtimes",
    "read_limits",
    "health",
    "ready",
}


@pytest.fixture(scope="session")
def operations(embedded: Web) -> dict[str, Any]:
    document: Any = schemathesis.openapi.from_url(f"{embedded.url}/api/v1/openapi.json")
    operations = (result.ok() for result in document.get_all_operations())
    return {each.definition.raw["operationId"]: each for each in operations}


@pytest.fixture(scope="session")
def key(embedded: Web) -> str:
    return embedded.manage("create_api_key", "owner", "--create-user", "--quiet")


@pytest.fixture(scope="session")
def finished(embedded: Web, key: str) -> str:
    """The id of an execution that ended."""
    connection = http.client.HTTPConnection("127.0.0.1", embedded.port, timeout=30)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    path = "/api/v1/executions?wait=20"
    connection.request("POST", path, json.dumps(HELLO), headers)
    made = json.loads(connection.getresponse().read())
    connection.close()
    assert made["status"] == "finished"
    return str(made["id"])


def test_every_operation_is_tried(operations: dict[str, Any]) -> None:
    assert set(operations) == OPERATIONS


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_made_up_requests_get_documented_answers(
    operations: dict[str, Any],
    key: str,
    finished: str,
    name: str,
    mode: GenerationMode,
) -> None:
    operation = operations[name]
    if mode == GenerationMode.NEGATIVE and not _can_be_wrong(operation):
        mode = GenerationMode.POSITIVE

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any) -> None:
        if case.path_parameters and mode == GenerationMode.POSITIVE:
            case.path_parameters["id"] = finished
        headers = {**(case.headers or {}), "Authorization": f"Bearer {key}"}
        answer = case.call_and_validate(headers=headers, checks=CHECKS, timeout=30)
        statuses.add(answer.status_code)

    statuses: set[int] = set()
    send()
    # Made up right, some must be right.
    assert mode == GenerationMode.NEGATIVE or min(statuses) < 400


def _can_be_wrong(operation: Any) -> bool:
    return bool(
        list(operation.query)
        or list(operation.headers)
        or list(operation.path_parameters)
        or list(operation.body)
    )
