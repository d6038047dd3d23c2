"""Users and their API keys. Knows nothing of executions."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models.functions import Now

from platform_site.connections import statement

KEY_PREFIX = "cp_"
KEY_RANDOM_BYTES = 32
KNOWN_FOR_S = 1.0
"""How long a key that was found usable is taken for usable without another look."""
MOST_KNOWN = 10_000


class User(AbstractUser):
    """An account. A model of our own from the first migration, so that it can grow."""


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self) -> ApiKeyQuerySet:
        """Keys that are neither revoked nor expired, of active users."""
        return self.filter(
            models.Q(expires_at=None) | models.Q(expires_at__gt=Now()),
            revoked_at=None,
            user__is_active=True,
        )

    def holder(self, text: str) -> User | None:
        """Return the active user whose usable key has this text, or None.

        Costs one query, or none for a key that this process asked for in the last
        KNOWN_FOR_S: so much longer a revoked one may still be taken here. The SQL is
        put together once per process, as that takes longer than the query itself. Only
        HOLDER_FIELDS are loaded, the others when they are asked for.
        """
        wanted = digest(text)
        now = time.monotonic()
        values, known_until = _known.get(wanted, (None, now))
        if values is None or now >= known_until:
            values = self._holder_values(wanted)
            if values is None:
                _known.pop(wanted, None)
                return None
            if len(_known) >= MOST_KNOWN:
                _known.clear()
            _known[wanted] = values, now + KNOWN_FOR_S
        return User.from_db(self.db, [f.attname for f in _holder_fields()], values)

    def _holder_values(self, wanted: str) -> list[Any] | None:
        sql, parameters = _holder_query(self.db)
        with statement() as cursor:
            cursor.execute(sql, [wanted if p == _WANTED else p for p in parameters])
            row = cursor.fetchone()
        if row is None or not hmac.compare_digest(row[-1], wanted):
            return None
        pairs = zip(_holder_fields(), row[:-1], strict=True)
        return [field.to_python(value) for field, value in pairs]

    def issue(self, user: User, name: str, **fields: Any) -> tuple[ApiKey, str]:
        """Create a key and return it with its text, which is never stored."""
        text = KEY_PREFIX + secrets.token_urlsafe(KEY_RANDOM_BYTES)
        key = self.create(
            user=user, name=name, digest=digest(text), hint=text[:10], **fields
        )
        return key, text


HOLDER_FIELDS = frozenset(("id", "username", "is_active", "is_staff", "is_superuser"))
_WANTED = "the digest that is looked for"
_known: dict[str, tuple[list[Any], float]] = {}
"""The holders' values by their keys' digests, and until when they hold."""


@cache
def _holder_fields() -> tuple[models.Field[Any, Any], ...]:
    """Return HOLDER_FIELDS in the model's order, in which from_db wants the values."""
    return tuple(f for f in User._meta.concrete_fields if f.attname in HOLDER_FIELDS)


@cache
def _holder_query(alias: str) -> tuple[str, tuple[Any, ...]]:
    """Return the SQL of ApiKeyQuerySet.holder, and its parameters with _WANTED."""
    columns = [f"user__{field.attname}" for field in _holder_fields()]
    rows = ApiKey.objects.using(alias).usable().filter(digest=_WANTED)
    compiler = rows.order_by().values_list(*columns, "digest").query.get_compiler(alias)
    sql, parameters = compiler.as_sql()
    return sql, tuple(parameters)


def digest(text: str) -> str:
    """Return what is stored of a key: SHA-256, enough for 256 random bits."""
    return hashlib.sha256(text.encode()).hexdigest()


class ApiKey(models.Model):
    """A bearer key; only its hash is kept. `hint` is its start, to recognise it by."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_keys"
    )
    name = models.CharField(max_length=100)
    hint = models.CharField(max_length=16, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"
