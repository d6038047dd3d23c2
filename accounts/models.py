"""Users and their API keys. Knows nothing of executions."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import cache
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models.functions import Now

from platform_site.connections import statement

KEY_PREFIX = "cp_"
KEY_RANDOM_BYTES = 32


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

        Costs one query, made anew each time: a revoked key is dead at once. Its SQL is
        put together once per process, as that takes longer than the query itself. Only
        HOLDER_FIELDS are loaded, the others when they are asked for.
        """
        wanted = digest(text)
        sql, parameters = _holder_query(self.db)
        with statement() as cursor:
            cursor.execute(sql, [wanted if p == _WANTED else p for p in parameters])
            row = cursor.fetchone()
        if row is None or not hmac.compare_digest(row[-1], wanted):
            return None
        fields = _holder_fields()
        values = [f.to_python(v) for f, v in zip(fields, row[:-1], strict=True)]
        return User.from_db(self.db, [f.attname for f in fields], values)

    def issue(self, user: User, name: str, **fields: Any) -> tuple[ApiKey, str]:
        """Create a key and return it with its text, which is never stored."""
        text = KEY_PREFIX + secrets.token_urlsafe(KEY_RANDOM_BYTES)
        key = self.create(
            user=user, name=name, digest=digest(text), hint=text[:10], **fields
        )
        return key, text


HOLDER_FIELDS = frozenset(("id", "username", "is_active", "is_staff", "is_superuser"))
_WANTED = "the digest that is looked for"


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
