"""Quorum queues, where RabbitMQ itself keeps a job until its time. Celery knows how to from version 5.5."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kombu import Exchange, Queue

from tests.acceptance.journal import judge
from tests.acceptance.office import PATIENCE, Office, only_rabbitmq
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.nodes import Worker

#: 3 s take two of the queues between which such a broker hands a job on; it drops one that it takes for going round.
DELAY = 3
NAME = "quorum"
CONF = {
    "task_queues": None,
    "task_default_queue": NAME,
    "task_default_queue_type": "quorum",
    "task_default_exchange": NAME,
    "task_default_exchange_type": "topic",
    "task_default_routing_key": NAME,
    "lock_countdown": DELAY,
}
QUEUE = Queue(NAME, Exchange(NAME, type="topic"), NAME, queue_arguments={"x-queue-type": "quorum"})


@only_rabbitmq
def test_a_job_waits_in_the_broker(desk: Office, hire: Callable[..., Worker]) -> None:
    """A job that meets its key taken three times on a quorum queue runs when it is free, and runs once."""
    worker = hire("worker", CONF, queues=[NAME])
    worker.start()
    with desk.taken():
        job = desk.send("acks_late", "patient", options={"queue": QUEUE})
        wait_until(lambda: worker.log().count(" retry: Retry in") == 3, "three re-queues", PATIENCE)
    assert job.get(timeout=PATIENCE) == "patient"
    judge(desk.journal.runs(desk.key), ["patient"])
    _, *again = desk.wait_for_messages("patient", 4)
    assert all("x-death" in message["headers"] for message in again), "the worker kept it, not the broker"


@only_rabbitmq
def test_those_who_wait_in_the_broker_hold_up_no_other_key(desk: Office, hire: Callable[..., Worker]) -> None:
    """They are in no line, for nobody could call them: a worker that may hold few messages is not filled with them."""
    conf = {**CONF, "lock_countdown": "auto", "worker_prefetch_multiplier": 1}
    hire("worker", conf, concurrency=1, queues=[NAME]).start()
    with desk.taken():
        waits = [desk.send("acks_late", f"job {number}", options={"queue": QUEUE}) for number in range(4)]
        for number in range(4):
            sent = desk.wait_for_messages(f"job {number}", 2)
            assert not any("lock_ticket" in message["headers"] for message in sent)
        other = desk.job("acks_late", "other")
        other.kwargs["key"] = f"{desk.key}-other"
        assert other.apply_async(queue=QUEUE).get(timeout=PATIENCE) == "other"
    for number, job in enumerate(waits):
        assert job.get(timeout=PATIENCE) == f"job {number}"
