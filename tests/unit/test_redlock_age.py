"""From when on a node of Redlock counts, by the age that it tells."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from celery_locks.stores.redlock.address import Place
from celery_locks.stores.redlock.greeting import Greeting


def greeted(age: bytes, *, persistence: object = b"aof_enabled:0", delay: float = 100) -> Greeting:
    """A greeting that has been answered so."""
    greeting = Greeting(Place("a", 6379), delay)
    greeting.hear(persistence)
    greeting.hear(age)
    assert greeting.is_over
    return greeting


@pytest.mark.parametrize(
    ("info", "seconds"),
    [(b"redis_version:7\r\nuptime_in_seconds:41\r\n", 40), (b"uptime_in_seconds:0\r\n", 0), (b"# Server\r\n", 0)],
)
def test_an_age_is_one_that_it_has_at_least(info: bytes, seconds: int) -> None:
    """Two times cut to whole seconds may be up to one farther apart than what they stand for."""
    assert greeted(info).counts_from(1000.0) == pytest.approx(greeted(b"").counts_from(1000.0) - seconds)


def test_a_node_counts_when_all_earlier_leases_are_over() -> None:
    """As long after its start as it keeps a lease of that ttl: clocks may run apart by a hundredth."""
    assert 101 < greeted(b"uptime_in_seconds:41\r\n").counts_from(1000.0) - (1000 - 40) < 101.1


def test_without_a_delay_a_node_counts_at_once() -> None:
    """However young it is."""
    assert greeted(b"PONG", delay=0).counts_from(1000.0) == 0.0


@pytest.mark.parametrize(
    ("said", "forgets"),
    [
        (b"# Persistence\r\naof_enabled:1\r\naof_rewrite_in_progress:0\r\n", False),
        (b"aof_enabled:0\r\n", True),
        (b"", True),
        (ResponseError("NOPERM this user has no permissions to run the 'info' command"), True),
    ],
)
def test_only_one_that_says_so_is_known_to_keep_what_it_was_told(said: object, *, forgets: bool) -> None:
    """Who may not ask has locks all the same."""
    assert greeted(b"PONG", persistence=said).forgets is forgets


def test_another_refusal_is_raised() -> None:
    """A wrong password is told by the answer that comes before."""
    greeting = Greeting(Place("a", 6379, login=("wrong",)), 0)
    with pytest.raises(ResponseError, match="WRONGPASS"):
        greeting.hear(ResponseError("WRONGPASS invalid"))
