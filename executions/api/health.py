"""Whether the web server answers, and whether programs can be run."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from rest_framework.request import Request
from rest_framework.response import Response

from executions import backends
from executions import channel as channels
from executions.api import documents
from executions.api.views import View
from executions.canary import SandboxCheck
from executions.channel import ChannelDown

logger = logging.getLogger(__name__)


class Health(View):
    """Answers as long as the process does: never asks the database or anything else."""

    authentication_classes = ()
    permission_classes = ()

    @documents.health
    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


class Ready(View):
    """Answers 200 when every part that a run needs is there, else 503."""

    authentication_classes = ()
    permission_classes = ()

    @documents.ready
    def get(self, request: Request) -> Response:
        parts = {name: check() for name, check in PARTS.items()}
        content = {
            "ready": not any(parts.values()),
            "parts": {
                name: {"ok": not problem, "problem": problem}
                for name, problem in parts.items()
            },
        }
        return Response(content, status=200 if content["ready"] else 503)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.warning("the database does not answer: %s", type(error).__name__)
        return "does not answer"
    return ""


def _broker() -> str:
    if not settings.CELERY_BROKER_URL.startswith("redis"):
        return ""
    import redis  # noqa: PLC0415 - the embedded server does without

    client = redis.Redis.from_url(
        settings.CELERY_BROKER_URL,
        socket_connect_timeout=settings.REDIS_CONNECT_TIMEOUT_S,
        socket_timeout=settings.REDIS_CONNECT_TIMEOUT_S,
    )
    try:
        client.ping()
    except redis.RedisError as error:
        logger.warning("the broker does not answer: %s", type(error).__name__)
        return "does not answer"
    finally:
        client.close()
    return ""


def _worker() -> str:
    try:
        return "" if channels.current().workers() else "none has been heard of lately"
    except ChannelDown:
        return "cannot be asked, as the broker does not answer"


def _sandbox() -> str:
    """Ask the backend of the embedded server; elsewhere it is the workers' alone.

    Those do not let themselves be heard of before it works. Of pods they tell, in the
    database, whether any program may run in them.
    """
    if settings.SANDBOX_BACKEND == "kubernetes":
        return _pods()
    if not settings.CELERY_BROKER_URL.startswith("memory"):
        return ""
    return backends.problems()


def _pods() -> str:
    try:
        return SandboxCheck.objects.here().refusal()
    except DatabaseError:
        return "cannot be told, as the database does not answer"


PARTS: dict[str, Callable[[], str]] = {
    "database": _database,
    "broker": _broker,
    "worker": _worker,
    "sandbox": _sandbox,
}
