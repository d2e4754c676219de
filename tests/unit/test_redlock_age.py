"""From when on a node of Redlock counts, by the age that it tells."""

from __future__ import annotations

import pytest

from celery_locks.stores.redlock.address import Place
from celery_locks.stores.redlock.greeting import uptime
from celery_locks.stores.redlock.node import Node


class _Watch:
    def watch(self, node: Node, number: int, events: int) -> None: ...

    def forget(self, number: int) -> None: ...


@pytest.mark.parametrize(
    ("info", "seconds"),
    [(b"redis_version:7\r\nuptime_in_seconds:41\r\n", 40), (b"uptime_in_seconds:0\r\n", 0), (b"# Server\r\n", 0)],
)
def test_an_age_is_one_that_it_has_at_least(info: bytes, seconds: int) -> None:
    """Two times cut to whole seconds may be up to one farther apart than what they stand for."""
    assert uptime(info) == seconds


def test_a_node_counts_when_all_earlier_leases_are_over() -> None:
    """As long after its start as it keeps a lease of that ttl: clocks may run apart by a hundredth."""
    node = Node(Place("a", 6379), _Watch(), timeout=1, restart_delay=100)
    node._greetings = 1
    node._greeted(b"uptime_in_seconds:41\r\n", 1000.0)
    assert not node.counts(1000 - 40 + 101)
    assert node.counts(1000 - 40 + 101.1)
