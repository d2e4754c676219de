"""To whom a key is not handed over as it is given back: heirs that may have gone, and copies of one job."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.guard import Guard
from celery_locks.lease import Busy, Claim, Lease
from celery_locks.stores.base import Waiting
from celery_locks.ticket import Stance, Ticket
from tests.servers.proxy import Proxy
from tests.stores.contract.asking import claim, take
from tests.stores.contract.waiting import come, heard_from, hearing, join
from tests.stores.redis_heirs import HEIR, HOME, HOMES, KEY, LOCK, OTHER, handed, place_of, waits
from tests.stores.redis_stores import heirs_asked, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.base import Listening, Wake
    from celery_locks.stores.redis import RedisStore
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place


@pytest.fixture
def place(redis_url: str) -> Place:
    return place_of(redis_url)


@pytest.fixture
def elsewhere(store: RedisStore) -> Iterator[Listening]:
    """Another process."""
    with contextlib.closing(store.listen(OTHER)) as listening:
        yield listening


def _held(wake: Wake, heir: Claim = HEIR) -> Claim:
    """What gives back that was handed over."""
    assert heir.ticket
    return heir._replace(ticket=heir.ticket._replace(name=wake.ticket))


def test_one_that_has_not_asked_for_long_is_only_called(
    store: RedisStore, slot: Listening, redis_server: RedisServer
) -> None:
    """The server was away when it asked again: its job went back to its queue, and nobody would give back the key."""
    take(store, KEY, "holder")
    ticket = waits(store)
    heirs_asked(redis_server, HOMES, -3.0)
    assert store.release(claim(KEY, "holder"))
    wake = heard_from(slot)
    assert (wake.turn, wake.fence) == (True, 0)
    assert redis_server.ask("GET", LOCK) == "~a"
    come(store, KEY, "a", ticket)


def test_one_that_asks_again_is_handed_the_key(store: RedisStore, slot: Listening, redis_server: RedisServer) -> None:
    """It is as if it had come just now."""
    take(store, KEY, "holder")
    ticket = waits(store)
    heirs_asked(redis_server, HOMES, -60.0)
    again = Ticket(ticket, Stance.WAITS_IF_NEXT, HOME, echo=4)
    assert isinstance(store.acquire(HEIR._replace(ticket=again)), Busy)
    assert store.release(claim(KEY, "holder"))
    assert heard_from(slot).echo == 4


@pytest.mark.parametrize("owner", ["sync[a\0b]@host:7#0a", "sync[a b\nc]@host:7#0a", "sync[%s %d%%]@h:7#0a", " "])
def test_whatever_an_owner_is_called_it_is_the_one_that_has_the_key(
    store: RedisStore, slot: Listening, owner: str
) -> None:
    """The id of a job may be any text."""
    wake = handed(store, slot, HEIR._replace(owner=owner))
    assert [(each.owner, each.fence) for each in store.holders(KEY)] == [(owner, wake.fence)]


@pytest.mark.parametrize("name", ["a b", "100%", "%s {x}", "new\nline"])
def test_whatever_a_key_is_called(store: RedisStore, name: str) -> None:
    """Its name is said at the end of what is published."""
    heir = HEIR._replace(key=name)
    take(store, name, "holder")
    with contextlib.closing(store.listen(HOME)) as slot:
        assert isinstance(store.acquire(heir), Busy)
        assert store.release(claim(name, "holder"))
        wake = heard_from(slot)
    assert (wake.key, wake.echo) == (name, 3)


def test_one_that_said_late_that_it_is_here_is_not_called_when_it_is_done(store: RedisStore, slot: Listening) -> None:
    """Also when another has come before it meanwhile: neither then, nor when that one is done."""
    wake = handed(store, slot)
    store.attend([Waiting(KEY, wake.ticket)], HOME)
    with hearing(store) as anybody:
        join(store, KEY, "x", "0000000000000001-x")
        assert store.release(_held(wake))
        ticket = anybody().ticket
        assert ticket.endswith("-x")
        come(store, KEY, "x", ticket)
        assert store.release(claim(KEY, "owner x"))
        take(store, KEY, "next")


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("comes", [True, False])
def test_another_copy_of_the_job_keeps_its_place(
    store: RedisStore, slot: Listening, redis_server: RedisServer, *, comes: bool
) -> None:
    """Its message was delivered again, to another worker, while the first copy ran: it is called when that is done."""
    wake = handed(store, slot)
    store.attend([Waiting(KEY, wake.ticket, comes=comes)], OTHER)
    join(store, KEY, "behind")
    assert store.release(_held(wake))
    assert redis_server.ask("GET", LOCK) == "~a"


def test_another_copy_in_a_slot_is_handed_the_key(store: RedisStore, slot: Listening, elsewhere: Listening) -> None:
    """Of two with one ticket that wait at once, the one that asked last has it; the other is told nothing."""
    copy = HEIR._replace(owner="shop.sync[an id]@host:8#2c3d", ticket=Ticket("a", Stance.WAITS_IF_NEXT, OTHER, echo=3))
    wake = handed(store, slot)
    assert isinstance(store.acquire(copy), Busy)
    assert store.release(_held(wake))
    assert heard_from(elsewhere).fence > wake.fence
    assert isinstance(store.acquire(HEIR._replace(owner="first again")), Busy)
    holding = store.inspect(KEY)
    assert holding
    assert holding.owner == copy.owner


@pytest.mark.parametrize(
    "more", [{"slots": 3}, {"shared": True}, {"others": ("z",)}], ids=lambda more: str(next(iter(more)))
)
def test_whoever_wants_more_than_the_key_alone_is_called(store: RedisStore, slot: Listening, more: dict) -> None:
    """A crowd, a reader and one of several keys ask, and get what they asked for."""
    mark = {"slots": "3.", "shared": "r."}.get(next(iter(more)), "")
    joint = HEIR._replace(ticket=Ticket(f"{mark}a", Stance.WAITS_IF_NEXT, HOME), **more)
    take(store, KEY, "holder")
    ask = store.acquire_together if joint.others else store.acquire
    busy = ask(joint)
    assert isinstance(busy, Busy)
    assert store.release(claim(KEY, "holder"))
    wake = heard_from(slot)
    assert (wake.turn, wake.fence, store.holders(KEY)) == (True, 0, [])
    assert isinstance(ask(joint._replace(ticket=joint.ticket._replace(name=wake.ticket))), Lease)


def test_what_one_of_several_keys_was_is_handed_over(store: RedisStore, slot: Listening) -> None:
    """Its holder had others besides."""
    both = Claim("alpha", "holder", 30.0, others=(KEY,))
    assert isinstance(store.acquire_together(both), Lease)
    assert isinstance(store.acquire(HEIR), Busy)
    assert store.release_together(both)
    assert heard_from(slot).fence


def test_one_whose_server_is_out_of_reach_when_the_key_is_handed_over(
    redis_url: str, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job has gone back to its queue, and its farewell is lost: the key is given back when the server is there."""
    waited: list[StoreUnavailable] = []
    # Nobody hears wakes any more when the test is over.
    monkeypatch.setattr("celery_locks.hearing.IDLE", 0.0)
    with Proxy(redis_url) as proxy, opened(redis_url) as store, opened(f"{proxy.url}?socket_timeout=0.5") as there:
        guard = Guard(there)
        assert guard.waker
        assert HEIR.ticket
        heir = HEIR._replace(ttl=300.0, ticket=HEIR.ticket._replace(home=guard.waker.home()))

        def wait() -> None:
            try:
                guard.enter(heir, wait=120.0)
            except StoreUnavailable as outage:
                waited.append(outage)

        take(store, KEY, "holder")
        slot = threading.Thread(target=wait, daemon=True)
        slot.start()
        with redis_server.client() as client:
            wait_until(lambda: " slot " in str(client.hvals(HOMES)), "it to wait")
        proxy.hang()
        # On a machine that stands still here for seconds it is only called, and there is nothing to give back.
        assert store.release(claim(KEY, "holder"))
        slot.join(30)
        assert waited, "the outage that it met"
        proxy.cut()
        proxy.heal()
        wait_until(lambda: store.inspect(KEY) is None, "the key to be free", 60)
