"""What Celery calls. The messages carry nothing: see bells."""

from __future__ import annotations

from celery import shared_task

from executions import bells, worker


@shared_task(name=bells.WORK, acks_late=True, ignore_result=True)
def work() -> None:
    """Run the next due execution, and go on while others are due or bells ring."""
    worker.current().attend()
