"""The Celery application: `celery -A platform_site worker` runs programs.

Its messages are only bells (executions.bells), so everything that Celery offers beyond
delivering them is turned off here rather than on the command line.
"""

from __future__ import annotations

import os
import sys
import warnings
from functools import cached_property
from typing import Any

from celery import Celery, signals
from celery.app.amqp import AMQP
from celery.apps import worker as celery_worker
from celery.exceptions import SecurityWarning
from kombu import Connection, Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "platform_site.settings")

from django.conf import settings

from platform_site import garbage, transports

transports.install()

# Celery warns root of pickle; nothing but JSON is read here, and jails need root, or
# delegated control groups.
warnings.filterwarnings("ignore", category=SecurityWarning)

RECONNECT_S = 2.0


class PatientConnection(Connection):
    """Tries again every 2 s at most: a broker that is back is used within 5 s."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("interval_start", 0.5)
        kwargs.setdefault("interval_step", 0.5)
        kwargs.setdefault("interval_max", RECONNECT_S)
        return super().ensure_connection(*args, **kwargs)


class PatientAMQP(AMQP):
    Connection = PatientConnection


class QuietWorker(celery_worker.Worker):
    """No gossip, no mingle, no heartbeats of Celery's own: leases do that job."""

    def prepare_args(self, **kwargs: Any) -> dict[str, Any]:
        quiet = dict.fromkeys(
            ("without_gossip", "without_mingle", "without_heartbeat"), True
        )
        prepared: dict[str, Any] = super().prepare_args(**{**kwargs, **quiet})
        return prepared


class PlatformCelery(Celery):
    @cached_property
    def Worker(self) -> Any:
        return self.subclass_with_self(QuietWorker)


app = PlatformCelery("platform_site", amqp=PatientAMQP, set_as_current=True)
app.conf.update(
    broker_url=settings.CELERY_BROKER_URL,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_connection_timeout=settings.REDIS_CONNECT_TIMEOUT_S,
    broker_transport_options={
        "socket_connect_timeout": settings.REDIS_CONNECT_TIMEOUT_S,
        "socket_timeout": 10,
        "socket_keepalive": True,
        "health_check_interval": 5,
    },
    task_default_queue=transports.QUEUE,
    task_queues=[Queue(transports.QUEUE, Exchange(transports.QUEUE), transports.QUEUE)],
    task_create_missing_queues=False,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    worker_pool="threads",
    worker_concurrency=settings.WORKER_CONCURRENCY,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_hijack_root_logger=False,
    # The worker's threads see to their connections themselves: see connections.
    CELERY_DB_REUSE_MAX=sys.maxsize,
    timezone="UTC",
)
app.autodiscover_tasks(["executions"])


@signals.worker_init.connect
def _start(**_: Any) -> None:
    from executions import worker  # noqa: PLC0415 - needs the apps to be loaded

    worker.start()
    garbage.settle()


@signals.worker_shutting_down.connect
def _stop(**_: Any) -> None:
    """In a signal handler: only flags may be touched."""
    from executions import worker  # noqa: PLC0415

    worker.current().stop()


@signals.worker_shutdown.connect
def _close(**_: Any) -> None:
    from executions import worker  # noqa: PLC0415

    current = worker.current()
    current.wait(settings.GIVE_BACK_S)
    current.pass_bells_on()
    current.close()
    current.backend.close()
