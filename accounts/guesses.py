"""How often the password of an account may be guessed.

Counted for each name and address in the cache, which each process has for itself unless
CACHES names a shared one: a bound on guessing, not an exact count.
"""

from __future__ import annotations

import hashlib

from django.core.cache import cache
from django.http import HttpRequest

MAX_FAILURES = 10
WINDOW_S = 300


def are_too_many(request: HttpRequest, username: str) -> bool:
    failures: int = cache.get(_key(request, username), 0)
    return failures >= MAX_FAILURES


def count(request: HttpRequest, username: str) -> None:
    key = _key(request, username)
    cache.add(key, 0, WINDOW_S)
    try:
        cache.incr(key)
    except ValueError:
        # It expired in between: this failure starts the next window.
        cache.set(key, 1, WINDOW_S)


def forget(request: HttpRequest, username: str) -> None:
    cache.delete(_key(request, username))


def _key(request: HttpRequest, username: str) -> str:
    who = f"{request.META.get('REMOTE_ADDR', '')} {username.casefold()}"
    return "guesses:" + hashlib.sha256(who.encode("utf-8", "replace")).hexdigest()
