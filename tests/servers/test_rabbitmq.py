"""The private RabbitMQ carries messages, keeps tests apart, and keeps what is durable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kombu
import pytest

if TYPE_CHECKING:
    from tests.servers.rabbitmq import RabbitServer


def test_rabbitmq_carries_a_message(rabbitmq_url: str) -> None:
    """A message that was put into a queue comes out again."""
    with kombu.Connection(rabbitmq_url) as connection, connection.SimpleQueue("letters") as queue:
        queue.put("hello")
        letter = queue.get(timeout=30)
        letter.ack()
        assert letter.payload == "hello"


def test_each_test_has_its_own_virtual_host(rabbitmq_server: RabbitServer) -> None:
    """Virtual hosts share no queue, and are gone afterwards."""
    with rabbitmq_server.vhost() as one, rabbitmq_server.vhost() as two:
        with kombu.Connection(one) as connection, connection.SimpleQueue("letters") as queue:
            queue.put("hello")
        with kombu.Connection(two) as connection, connection.SimpleQueue("letters") as queue:
            assert queue.qsize() == 0
    with kombu.Connection(one) as connection, pytest.raises(connection.connection_errors):
        connection.connect()


def test_rabbitmq_keeps_a_message_over_a_restart(rabbitmq_server: RabbitServer) -> None:
    """A durable message survives a restart of the broker, which heal brings about on the same port."""
    with rabbitmq_server.vhost() as url:
        with kombu.Connection(url) as connection, connection.SimpleQueue("letters") as queue:
            queue.put("hello")
        rabbitmq_server.stop()
        assert rabbitmq_server.heal()
        with kombu.Connection(url) as connection, connection.SimpleQueue("letters") as queue:
            assert queue.get(timeout=30).payload == "hello"
