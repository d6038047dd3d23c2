"""The OpenAPI document against what the server really does, and against docs/api.md."""

from __future__ import annotations

import http.client
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.conf import settings
from django.test import Client

from executions.api import envelope, errors, schema
from executions.models import Execution
from executions.tests.api.conftest import HELLO, Caller, Web
from executions.tests.api.test_api_read import finish

DOCS = Path(settings.BASE_DIR, "docs", "api.md").read_text()


def strict(part: Any) -> Any:
    """The schema, made to refuse properties that it does not name."""
    if isinstance(part, list):
        return [strict(item) for item in part]
    if not isinstance(part, dict):
        return part
    made = {name: strict(value) for name, value in part.items()}
    if "properties" in made and made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


def check(answer: Any, path: str, method: str = "get") -> None:
    """Hold an answer against the document."""
    document = strict(schema.document())
    told = document["paths"][path][method]["responses"][str(answer.status_code)]
    form = told["content"]["application/json"]["schema"]
    jsonschema.validate(answer.json(), {**form, "components": document["components"]})


DETAIL = "/api/v1/executions/{id}"


def test_document_describes_real_answers(owner: Caller, execution: Execution) -> None:
    path = f"/api/v1/executions/{execution.id}"
    check(owner.submit(), "/api/v1/executions", "post")
    check(owner.submit(runtime="x"), "/api/v1/executions", "post")
    check(owner.get("/api/v1/executions"), "/api/v1/executions")
    check(owner.get(path), DETAIL)
    finish(execution)
    check(owner.get(f"{path}?include=submission"), DETAIL)
    check(owner.get(f"{path}?encoding=base64&include=submission"), DETAIL)
    check(owner.post(f"{path}/cancel"), f"{DETAIL}/cancel", "post")
    check(owner.get("/api/v1/runtimes"), "/api/v1/runtimes")
    check(owner.get("/api/v1/limits"), "/api/v1/limits")
    check(Caller(None).get("/api/v1/limits"), "/api/v1/limits")
    check(owner.get("/api/ready"), "/api/ready")
    check(owner.get("/api/health"), "/api/health")


def test_document_is_readable_without_a_key(nobody: Caller) -> None:
    answer = nobody.get("/api/v1/openapi.json")
    assert answer.json()["openapi"].startswith("3.1")
    assert set(answer.json()["paths"]) == {
        "/api/v1/executions",
        "/api/v1/executions/{id}",
        "/api/v1/executions/{id}/cancel",
        "/api/v1/runtimes",
        "/api/v1/limits",
        "/api/health",
        "/api/ready",
    }


def test_document_has_a_page_without_scripts_and_other_hosts(db: None) -> None:
    answer = Client().get("/api/v1/docs")
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "/api/v1/executions" in page
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page)


def test_every_error_code_is_documented() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", DOCS, re.MULTILINE)
    assert {code: int(status) for status, code in rows} == envelope.CODES


def test_every_field_of_a_submission_is_documented() -> None:
    form = schema.document()["components"]["schemas"]["Submission"]
    for name in form["properties"]:
        assert f"`{name}`" in DOCS
    assert set(form["required"]) == {"runtime"}


@pytest.mark.parametrize("code", ["not_found", "throttled", "unavailable", "internal"])
def test_an_error_made_outside_views_has_the_envelope(code: str) -> None:
    answer = errors.response(code)
    assert answer.status_code == envelope.CODES[code]
    assert ("Retry-After" in answer) is (answer.status_code in (429, 503))


SAFE_HEADERS = {
    "Content-Security-Policy": r"default-src 'none'.*frame-ancestors 'none'",
    "X-Content-Type-Options": r"nosniff",
    "X-Frame-Options": r"DENY",
    "Referrer-Policy": r"same-origin",
    "X-Request-ID": r"[0-9a-f]{32}",
}


@pytest.mark.parametrize(
    "path",
    ["/", "/accounts/login/", "/admin/login/", "/api/v1/limits", "/api/health/",
     "/api/none", "/none", "/api/v1/docs", "/api/v1/openapi.json"],
)  # fmt: skip
def test_every_answer_has_safe_headers(db: None, path: str) -> None:
    answer = Client().get(path)
    for name, pattern in SAFE_HEADERS.items():
        assert re.fullmatch(pattern, answer[name]), name
    assert "unsafe" not in answer["Content-Security-Policy"]


def test_a_sensible_request_id_is_taken_over(nobody: Caller) -> None:
    assert nobody.get("/api/health", X_Request_ID="mine-12345")["X-Request-ID"] == (
        "mine-12345"
    )
    for strange in ("short", "x" * 65, "a b c d e f", "{{7*7}}{{7*7}}", "é" * 10):
        answer = nobody.get("/api/health", X_Request_ID=strange)
        assert answer["X-Request-ID"] != strange


@pytest.mark.slow
def test_logs_hold_no_secret(web: Web, web_key: str) -> None:
    """Row A14: markers in everything that a caller may send."""
    marker = "MARKER7313"
    body = {
        **HELLO,
        "source": f"print('{marker}')",
        "stdin": marker,
        "args": [marker],
        "env": {"A": marker},
    }
    for changes in ({}, {"runtime": marker}, {marker: 1}, {"limits": {marker: 1}}):
        _send(web, web_key, {**body, **changes})
    _send(web, f"cp_{marker}{marker}{marker}", body)
    _send(web, web_key, body, f"?x={marker}")
    _send(web, web_key, body, f"?key={web_key}")
    _send(web, web_key, body, "", **{"Idempotency-Key": marker})
    _send(web, web_key, f"{{{marker}")
    assert "POST /api/v1/executions 201" in web.log
    assert marker not in web.log
    assert web_key not in web.log


def test_logs_cannot_be_forged(web: Web, web_key: str) -> None:
    _send(web, web_key, None, "/%0d%0a2030-01-01 FORGED line")
    assert "FORGED" in web.log
    assert not re.search(r"^2030-01-01 FORGED", web.log, re.MULTILINE)


def _send(web: Web, key: str, body: Any, query: str = "", **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
    data = body if isinstance(body, str) or body is None else json.dumps(body)
    sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    path = f"/api/v1/executions{query}".replace(" ", "%20")
    connection.request("POST", path, data, {**sent, **headers})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status
