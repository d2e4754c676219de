"""Jobs for several keys that are taken one after another: their turns lead to a lease, whoever is called first."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import pytest

from celery_locks.lease import Busy, Claim, Lease
from celery_locks.stores import open_store
from celery_locks.stores.several import Several
from celery_locks.ticket import Stance, Ticket, marked, undated
from tests.stores.contract.crowding import enter, part
from tests.stores.contract.several import joint_claim
from tests.stores.contract.waiting import LONG, hearing
from tests.stores.redis_stores import cluster_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.redis import RedisStore

BOTH = ("a", "b")
#: Far more turns than it takes, and fewer than for ever.
TURNS = 40


class Kind(NamedTuple):
    slots: int


@pytest.fixture(params=["cluster", "slots"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(slots=1 if request.param == "cluster" else 2)


@pytest.fixture
def queue(request: pytest.FixtureRequest, kind: Kind) -> Iterator[RedisStore]:
    """A store that takes such keys one after another, and keeps a key for whom it called until the test is over."""
    if kind.slots == 1:
        cluster = request.getfixturevalue("redis_cluster")
        cluster.flush()
        url = cluster_url(cluster)
    else:
        url = request.getfixturevalue("redis_url")
    with contextlib.closing(open_store(f"{url}?claim_window={LONG}")) as store:
        yield store  # type: ignore[misc]  # the URL is of one


def asks(store: RedisStore, kind: Kind, name: str, ticket: str = "", turn: int = 0) -> Lease | Busy:
    """One for both keys; as a job that comes back from its queue it has a new owner each time."""
    claim = joint_claim(BOTH, f"owner {name} {turn}")._replace(slots=kind.slots)
    known = ticket or marked(name, kind.slots, shared=False)
    return Several(store).acquire(claim._replace(ticket=Ticket(known, Stance.WAITS)))


def held(kind: Kind, key: str) -> Claim:
    return Claim(key, "holder", 30.0, slots=kind.slots)


def waits(store: RedisStore, kind: Kind, name: str) -> Busy:
    answer = asks(store, kind, name)
    assert isinstance(answer, Busy)
    return answer


def test_turns_are_not_passed_round_for_ever(queue: RedisStore, kind: Kind) -> None:
    """Each in the order in which they were called, of which one has his turn on each key, they come to a lease."""
    if kind.slots > 1:
        for key in BOTH:
            # One place is free from now on.
            enter(queue, part(key, "stays", 2))
    b = enter(queue, held(kind, "b"))
    waits(queue, kind, "yvo")
    a = enter(queue, held(kind, "a"))
    for name in ("xaver", "zoe"):
        assert waits(queue, kind, name).key == "a"
    with hearing(queue) as heard:
        for lease in (a, b):
            assert queue.release(lease.claim)
        for turn in range(TURNS):
            ticket = heard().ticket
            answer = asks(queue, kind, undated(ticket), ticket, turn)
            if isinstance(answer, Lease):
                break
        else:
            pytest.fail(f"nobody had both keys after {TURNS} turns")
    assert turn <= 4
