"""The OpenAPI document, made once per process, and a page that shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from rest_framework.request import Request
from rest_framework.response import Response

from executions import rules, specs
from executions.api.views import View

# The rule for file names but for its list of invisible characters.
PATH_PATTERN = r"^(?![-/])(?!(.*/)?\.{0,2}(/|$))[^\x00-\x1f\x7f\\]{1,255}$"


@cache
def document() -> dict[str, Any]:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    schema: dict[str, Any] = generator.get_schema(  # type: ignore[no-untyped-call]
        request=None, public=True
    )
    _tell_rules(schema["components"]["schemas"]["Submission"])
    # Both forms of each URL work; one is enough to know.
    schema["paths"] = {path.rstrip("/"): v for path, v in schema["paths"].items()}
    return json.loads(json.dumps(schema, default=str))  # type: ignore[no-any-return]


def _tell_rules(submission: dict[str, Any]) -> None:
    """Add what serializers cannot express."""
    submission["additionalProperties"] = False
    submission["oneOf"] = [{"required": ["source"]}, {"required": ["files"]}]
    submission["not"] = {"required": ["stdin", "stdin_base64"]}
    properties = submission["properties"]
    properties["stdin_base64"]["format"] = "byte"
    properties["entry_point"]["pattern"] = PATH_PATTERN
    properties["env"]["propertyNames"] = {"pattern": f"^{specs.ENV_NAME.pattern}$"}
    known = rules.current()
    properties["files"] |= {"minItems": 1, "maxItems": known.max_files}
    properties["args"]["maxItems"] = known.max_args
    properties["env"]["maxProperties"] = known.max_env


class OpenApi(View):
    """Readable without a key: it tells what the open documentation tells."""

    authentication_classes = ()
    permission_classes = ()
    schema = None

    def get(self, request: Request) -> Response:
        return Response(document())


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Show the document as a page of plain HTML, without scripts and other hosts."""
    return render(request, "api/docs.html", {"operations": list(operations())})


def operations() -> list[dict[str, Any]]:
    """Return the operations as the page shows them."""
    return [
        {
            "method": method.upper(),
            "path": path,
            "summary": operation.get("summary", ""),
            "description": operation.get("description", ""),
            "parameters": operation.get("parameters", []),
            "body": _pretty(_body(operation)),
            "answers": [
                {"status": status, "description": answer.get("description", "")}
                for status, answer in sorted(operation["responses"].items())
            ],
        }
        for path, methods in sorted(document()["paths"].items(), key=_by_interest)
        for method, operation in methods.items()
    ]


def _by_interest(item: tuple[str, Any]) -> tuple[bool, str]:
    # Programs first, probes last.
    return not item[0].startswith("/api/v1/"), item[0]


def _body(operation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the schema of the operation's body with its references filled in."""
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    return _resolved(schema) if schema else None


def _resolved(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_resolved(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        name = reference.rsplit("/", 1)[-1]
        return _resolved(document()["components"]["schemas"][name])
    return {key: _resolved(value) for key, value in schema.items()}


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2) if value else ""
