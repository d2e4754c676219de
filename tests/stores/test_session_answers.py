"""What becomes of a lock that lives in a session when a request is late, or its answer is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Lease, Verdict
from tests.stores.contract import claim, patient, refused, verdict
from tests.stores.contract.asking import hears_its_own
from tests.stores.session_stores import place_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores.sessions import SessionStore
    from tests.servers.proxy import Proxy
    from tests.stores.places import Place
    from tests.stores.session_stores import Database


@pytest.fixture
def place(database: Database) -> Place:
    return place_of(database)


def _ends_with_its_session(store: SessionStore, other: SessionStore, held: Lease) -> None:
    """An acquire that has no answer is an outage and leaves no lock, and what was held before it is lost."""
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet"))
    patient(other, "wallet", "ben", timeout=10)
    assert not held.held()
    assert verdict(store, held) is Verdict.LOST


def test_an_acquire_whose_answer_is_cut_leaves_no_lock(
    store: SessionStore, way: Proxy, other: SessionStore, database: Database, held: Lease
) -> None:
    """The connection is over, and all that was in it: an outage, and every key is free."""
    way.cut_answer(database.take)
    _ends_with_its_session(store, other, held)
    patient(other, "held", "ben", timeout=20)


def test_a_release_whose_answer_is_cut_may_be_repeated(
    store: SessionStore, way: Proxy, other: SessionStore, database: Database, held: Lease
) -> None:
    """Nobody can say whether it was released or ended with its connection; asked again, it is not held any more."""
    way.cut_answer(database.give_back)
    with pytest.raises(StoreUnavailable):
        store.release(held.claim)
    patient(other, "held", "ben", timeout=20)
    assert store.release(held.claim)
    assert refused(other, "held", "cleo").holder == "ben"


def test_a_renewal_whose_answer_is_cut_has_lost(
    store: SessionStore, way: Proxy, database: Database, held: Lease
) -> None:
    """A connection that is over is a lost lease, and no outage."""
    way.cut_answer(database.still)
    assert verdict(store, held) is Verdict.LOST


def test_an_acquire_that_arrives_late_leaves_no_lock(
    store: SessionStore, way: Proxy, other: SessionStore, held: Lease
) -> None:
    """What the network held and let go later is given back when its answer comes, and the session goes on."""
    way.hold("requests")
    with pytest.raises(StoreUnavailable, match=r"no answer within 0.5 s"):
        store.acquire(claim("wallet"))
    way.let_go("requests")
    patient(other, "wallet", "ben", timeout=20)
    assert held.held()
    assert verdict(store, held) is Verdict.RENEWED


def test_an_acquire_that_arrives_after_its_client_is_gone_leaves_no_lock(
    store: SessionStore, way: Proxy, other: SessionStore
) -> None:
    """The server that reads it finds the end of the connection right behind it."""
    way.hold("requests")
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet"))
    store.close()
    way.let_go("requests")
    wait_until(lambda: not way.waiting("requests"), "the held request to go on")
    patient(other, "wallet", "ben", timeout=20)
    patient(other, "held", "ben", timeout=20)


def test_a_late_answer_is_heard_by_nobody(store: SessionStore, way: Proxy, held: Lease) -> None:
    """The answer that comes after its client gave up is not taken for the answer to the next request."""
    way.hold("answers")
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet", "anna"))
    way.let_go("answers")
    hears_its_own(store, rounds=10)
    assert verdict(store, held) is Verdict.RENEWED


def test_a_late_release_is_a_release(store: SessionStore, way: Proxy, other: SessionStore, held: Lease) -> None:
    """An outage to whoever asked; it is done when it arrives, and said again when it is repeated."""
    way.hold("requests")
    with pytest.raises(StoreUnavailable):
        store.release(held.claim)
    way.let_go("requests")
    new = patient(other, "held", "ben", timeout=20)
    assert store.release(held.claim)
    assert verdict(other, new) is Verdict.RENEWED


def test_an_answer_that_never_comes_costs_the_session(
    store: SessionStore, way: Proxy, other: SessionStore, database: Database, held: Lease
) -> None:
    """Its lock is free when the server's patience is over, no later answer is mistaken for it, and work goes on."""
    way.lose_answer(database.take)
    _ends_with_its_session(store, other, held)
    assert refused(store, "wallet", "cleo").holder == "ben"
    patient(store, "held", "cleo", timeout=20)
