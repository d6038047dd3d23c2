"""JSON, read strictly and within bounds.

Every client error here is a 400, 413 or 415 with a reason, however large or deep the
body: the standard parser alone takes NaN, keeps the last of two equal names, and makes
objects of a hundred times the size of `[[],[],…`.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from executions.api.errors import ApiError, invalid
from executions.specs import MAX_REPORTED_FIELDS, shown

# Lists, objects and their members in one body. A submission needs a few hundred.
MAX_VALUES = 10_000
MAX_DEPTH = 32
# A string that is never closed goes to the end: to look for its end from every quote
# in it would take hours.
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


class StrictJSONParser(BaseParser):
    media_type = "application/json"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the body's value; `stream` is the request. Raises ApiError."""
        return parse(read(stream))


def submitted(request: Request) -> tuple[dict[str, Any], bytes]:
    """Return the JSON object that a request carries, and its bytes. Raises ApiError."""
    media_type, _, parameters = request.META.get("CONTENT_TYPE", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media_type.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        raise ApiError(
            "unsupported_media_type", "Send JSON, with Content-Type: application/json."
        )
    body = read(request._request)
    value = parse(body)
    if not isinstance(value, dict):
        raise ApiError("malformed", "The body must be a JSON object.")
    return value, body


def refuse_body(request: Request) -> None:
    """Accept no body, or an empty object. Raises ApiError."""
    if request._request.META.get("CONTENT_LENGTH") in (None, "", "0"):
        return
    fields, _ = submitted(request)
    if fields:
        unknown = {shown(name): ["is not a field here"] for name in fields}
        raise invalid(dict(list(unknown.items())[:MAX_REPORTED_FIELDS]))


def read(stream: Any) -> bytes:
    """Read the whole body, refusing encoded and too large ones."""
    if stream.META.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise ApiError(
            "unsupported_media_type", "A compressed body is not accepted here."
        )
    maximum = settings.REQUEST_MAX_BODY_BYTES
    body: bytes = stream.read(maximum + 1)
    if len(body) > maximum:
        raise ApiError("body_too_large", f"A body may be at most {maximum} bytes.")
    return body


def parse(body: bytes) -> Any:
    if body.startswith(codecs.BOM_UTF8):
        raise ApiError("malformed", "The body may not begin with a byte order mark.")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        message = f"The body is not UTF-8: byte {error.start} is wrong."
        raise ApiError("malformed", message) from None
    _refuse_excess(body)
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        message = f"The body is not JSON: {error.msg} at character {error.pos}."
        raise ApiError("malformed", message) from None
    except ValueError:
        # Python refuses to read integers of thousands of digits.
        raise ApiError("malformed", "A number in the body is too long.") from None


def _refuse_excess(body: bytes) -> None:
    """Refuse a body of very many values before it is made into objects."""
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    if values <= MAX_DEPTH:
        return
    bare = STRING.sub(b"", body)
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > MAX_VALUES:
        message = f"The body may hold at most {MAX_VALUES} values."
        raise ApiError("limit_exceeded", message)
    depth = 0
    for byte in re.findall(rb"[\[\]{}]", bare):
        depth += 1 if byte in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ApiError("malformed", f"The body is nested deeper than {MAX_DEPTH}.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                message = f"'{shown(name)}' stands twice in the same object."
                raise ApiError("malformed", message, {shown(name): ["stands twice"]})
            seen.add(name)
    return values


def _refuse_constant(name: str) -> Any:
    raise ApiError("malformed", f"{name} is not a JSON value.")
