"""How the REST API knows its caller: a bearer key, or the session of the pages."""

from __future__ import annotations

import re

from django.http import HttpRequest
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from accounts.models import ApiKey, User

# Generous towards other kinds of keys: what does not match is not worth a query.
PLAUSIBLE_KEY = re.compile(r"[A-Za-z0-9_-]{20,200}")


class BearerAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer <key>`. A revoked key is dead after KNOWN_FOR_S."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        header = request.META.get("HTTP_AUTHORIZATION")
        if not header:
            return None
        scheme, _, text = header.partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text:
            raise exceptions.AuthenticationFailed(
                "Send the key as 'Authorization: Bearer <key>'."
            )
        user = ApiKey.objects.holder(text) if PLAUSIBLE_KEY.fullmatch(text) else None
        if user is None:
            raise exceptions.AuthenticationFailed(
                "The key is unknown, expired or revoked."
            )
        return user, None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


class SessionAuthentication(authentication.SessionAuthentication):
    """The pages' session; every unsafe method needs their CSRF token."""

    def enforce_csrf(self, request: Request) -> None:
        # Looking for the token in the framework's request would read the body.
        super().enforce_csrf(request._request)  # type: ignore[arg-type]


def key_in_url(request: HttpRequest) -> bool:
    """Tell whether the query string carries a key: URLs end up in logs."""
    query = request.META.get("QUERY_STRING", "")
    return "cp_" in query and re.search(r"cp_[A-Za-z0-9_-]{20,}", query) is not None
