"""A job goes back the way it came: by its exchange and routing key, or to its queue alone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.acceptance.journal import judge
from tests.acceptance.nodes import start_all
from tests.acceptance.office import PATIENCE, Office, only_rabbitmq
from tests.acceptance.queues import FANS, TOPICS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.nodes import Worker


def test_a_topic_is_kept(office: Office) -> None:
    """A job that came by an exchange and a routing key goes back the same way."""
    options = {"exchange": "topics", "routing_key": "sync.accounts.eu", "declare": [TOPICS]}
    with office.taken():
        job = office.send("work", "by topic", options=options)
        office.wait_for_messages("by topic", 2)
    job.get(timeout=PATIENCE)
    [run] = office.journal.runs(office.key)
    assert run.facts["requeues"] >= 1
    way = run.facts["seen"]["delivery_info"]
    assert (way["exchange"], way["routing_key"]) == ("topics", "sync.accounts.eu")


@only_rabbitmq
def test_a_fanned_out_job_goes_back_alone(desk: Office, hire: Callable[..., Worker]) -> None:
    """A job that came by a fanout exchange goes back to the queue it came from, once: no other queue gets a copy."""
    start_all([hire(queue.name, queues=[queue.name]) for queue in FANS])
    with desk.taken():
        desk.send("work", "fanned out", options={"exchange": "fan", "routing_key": "any", "ignore_result": True})
        messages = desk.wait_for_messages("fanned out", 8)
    came_by = Counter(message["exchange"] for message in messages[:8])
    assert set(came_by) == {"", "fan"}
    assert came_by["fan"] == 2, "one for each queue"
    desk.journal.wait_for_runs(desk.key, 2)
    desk.wait_until_free()
    judge(desk.journal.runs(desk.key), ["fanned out"] * 2)
