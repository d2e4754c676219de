"""The queues of the acceptance tests, and what else their workers and senders have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kombu import Exchange, Queue

if TYPE_CHECKING:
    from celery import Celery

#: Reached by a topic only: to keep such a job's way means to keep both exchange and routing key.
TOPICS = Queue("sync", Exchange("topics", type="topic"), routing_key="sync.#")
#: Each has a copy of whatever is sent to their exchange.
FANS = [Queue(f"fan-{side}", Exchange("fan", type="fanout")) for side in ("left", "right")]
QUEUES = ["celery", "other", "sync"]


def configure(app: Celery) -> None:
    """What workers and tests have in common."""
    app.conf.update(
        accept_content=["json", "pickle"],
        task_queues=[
            *(Queue(name, Exchange(name), name, queue_arguments={"x-max-priority": 9}) for name in QUEUES[:2]),
            TOPICS,
            *FANS,
        ],
        task_default_queue="celery",
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
