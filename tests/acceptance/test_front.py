"""What is published again goes before what waits in its queue, with a broker that has a way."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from celery_locks.front import in_front

if TYPE_CHECKING:
    from kombu import Connection

    from tests.acceptance.office import Office

QUEUE = "front"


def _sent_and_fetched(connection: Connection, *, priority: int | None = None) -> list[str]:
    """Four messages, of which the second and third are sent to the front, in the order in which they are fetched."""
    with connection.SimpleQueue(QUEUE) as queue:
        for text, ahead in {"a": False, "b": True, "c": True, "d": False}.items():
            with in_front(queue.producer.channel) if ahead else nullcontext():
                queue.put(text, priority=priority)
        messages = [queue.get(timeout=10) for _ in range(4)]
        for message in messages:
            message.ack()
        return [message.payload for message in messages]


@pytest.mark.parametrize("priority", [None, 3])
def test_a_message_goes_to_the_front(desk: Office, priority: int | None) -> None:
    """Redis gives first what was put there last; RabbitMQ knows no front, and nothing is lost there either."""
    with desk.app.connection_for_write() as connection:
        fetched = _sent_and_fetched(connection, priority=priority)
        has_front = connection.transport.driver_type == "redis"
    assert fetched == (list("cbad") if has_front else list("abcd"))


def test_a_channel_is_as_it_was_before(desk: Office) -> None:
    """Also when what was to be published could not be."""
    with desk.app.connection_for_write() as connection, connection.channel() as channel:
        before = {**vars(channel)}
        with pytest.raises(ZeroDivisionError), in_front(channel):
            raise ZeroDivisionError
        assert vars(channel) == before
