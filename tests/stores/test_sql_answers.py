"""What becomes of a lock in a table when a request is late or its answer is cut off, lost or interrupted."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Verdict
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.sql_stores import QUICK, SERVERS, give_up, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from celery_locks.stores.sql import SqlStore
    from tests.servers.proxy import Proxy
    from tests.stores.sql_stores import Served

pytestmark = SERVERS
ACQUIRE, UPDATE = b"INSERT INTO", b"UPDATE"


@pytest.fixture
def way(proxy: Callable[[str], Proxy], server: Served) -> Proxy:
    """A proxy on the way to the database."""
    return proxy(server.url)


@pytest.fixture
def store(way: Proxy) -> Iterator[SqlStore]:
    """A client whose requests go through the proxy and that has a connection already."""
    with opened(way.url + QUICK) as store:
        take(store, "first")
        yield store


@pytest.fixture
def other(server: Served) -> Iterator[SqlStore]:
    """A client whose way is never broken."""
    with opened(server.url) as store:
        yield store


def test_an_acquire_whose_answer_is_cut_holds(store: SqlStore, way: Proxy, other: SqlStore) -> None:
    """The request went through and its answer did not come: sent again it is the same acquire, with the same fence."""
    way.cut_answer(ACQUIRE)
    lease = take(store, "wallet")
    holding = other.inspect("wallet")
    assert holding is not None
    assert (holding.owner, holding.fence) == ("anna", lease.fence)
    assert store.release(lease.claim)
    take(other, "wallet", "ben")


def test_a_release_whose_answer_is_cut_has_released(store: SqlStore, way: Proxy, other: SqlStore) -> None:
    """The release is sent again and hears that it was done."""
    lease = take(store, "wallet")
    way.cut_answer(UPDATE)
    assert store.release(lease.claim)
    take(other, "wallet", "ben")


def test_a_renewal_whose_answer_is_cut_has_renewed(store: SqlStore, way: Proxy) -> None:
    """Renewing twice is renewing."""
    lease = take(store, "wallet")
    way.cut_answer(UPDATE)
    assert verdict(store, lease) is Verdict.RENEWED


def test_an_acquire_that_is_cut_twice_is_an_outage_and_leaves_no_lock(
    store: SqlStore, way: Proxy, other: SqlStore
) -> None:
    """Whoever never hears of its lock gives it back."""
    way.cut_answer(ACQUIRE)
    way.cut_answer(ACQUIRE)
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet"))
    take(other, "wallet", "ben")


def test_an_acquire_whose_answer_is_lost_is_an_outage_and_leaves_no_lock(
    store: SqlStore, way: Proxy, other: SqlStore
) -> None:
    """After its timeout the client gives back what it may have taken, and says that it does not know."""
    way.lose_answer(ACQUIRE)
    with pytest.raises(StoreUnavailable, match="hangs, is overloaded or out of reach"):
        store.acquire(claim("wallet"))
    assert other.inspect("wallet") is None
    assert store.acquire(claim("wallet")) == Busy()
    take(other, "wallet", "ben")


def test_a_release_whose_answer_is_lost_may_be_repeated(store: SqlStore, way: Proxy, other: SqlStore) -> None:
    """Whoever hears of an outage and asks again hears that the key was given back, though others had it since."""
    lease = take(store, "wallet")
    way.lose_answer(UPDATE)
    with pytest.raises(StoreUnavailable):
        store.release(lease.claim)
    for owner in ("ben", "cleo"):
        take(other, "wallet", owner)
        assert other.release(claim("wallet", owner))
    assert store.release(lease.claim)


def test_a_late_answer_is_heard_by_nobody(store: SqlStore, way: Proxy) -> None:
    """The answer that comes after its client gave up is not taken for the answer to the next request."""
    way.hold("answers")
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet", "anna"))
    way.let_go("answers")
    for number in range(20):
        assert take(store, f"key {number}", f"owner {number}").owner == f"owner {number}"
        assert refused(store, f"key {number}", "cleo").holder == f"owner {number}"
        assert store.inspect("none") is None


@pytest.mark.parametrize("used", [False, True], ids=["new key", "used key"])
def test_an_acquire_that_arrives_after_its_client_gave_up_takes_nothing(
    store: SqlStore, way: Proxy, other: SqlStore, server: Served, *, used: bool
) -> None:
    """A request that the network held and let go later carries the time at which its client gave up."""
    if used:
        take(other, "wallet", "before")
        other.release(claim("wallet", "before"))
    way.hold("requests")
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("wallet", "anna"))
    assert other.inspect("first") is not None
    assert ACQUIRE in way.waiting("requests")
    before = server.sessions
    way.let_go("requests")
    wait_until(lambda: server.sessions < before, "the database to read it and the end of its connection")
    assert other.inspect("wallet") is None
    take(other, "wallet", "ben")


def test_an_acquire_that_arrives_after_the_mark_of_its_owner_is_refused(store: SqlStore, other: SqlStore) -> None:
    """The network does not keep the order of two connections: the mark may come first, and others in between."""
    give_up(other, "anna")
    take(other, "wallet", "ben")
    assert other.release(claim("wallet", "ben"))
    assert store.acquire(claim("wallet", "anna")) == Busy()
    assert other.inspect("wallet") is None


def test_a_late_renewal_renews_nothing_of_others(store: SqlStore, way: Proxy, other: SqlStore, server: Served) -> None:
    """A beat that arrives after the key has changed hands changes nothing."""
    lease = take(store, "wallet", ttl=60)
    way.hold("requests")
    with pytest.raises(StoreUnavailable):
        store.renew([lease])
    assert other.release(lease.claim)
    take(other, "wallet", "ben", ttl=5)
    before = server.sessions
    way.let_go("requests")
    wait_until(lambda: server.sessions < before, "the database to read it and the end of its connection")
    holding = other.inspect("wallet")
    assert holding is not None
    assert holding.owner == "ben"
    assert holding.remaining is not None
    assert holding.remaining <= 5


def test_a_late_release_frees_nothing_of_others(store: SqlStore, way: Proxy, other: SqlStore, server: Served) -> None:
    """A release that arrives after its lease ran out and the key was retaken changes nothing."""
    lease = take(store, "wallet", ttl=0.3)
    way.hold("requests")
    with pytest.raises(StoreUnavailable):
        store.release(lease.claim)
    wait_until(lambda: other.inspect("wallet") is None, "the end of the lease")
    new = take(other, "wallet", "ben")
    before = server.sessions
    way.let_go("requests")
    wait_until(lambda: server.sessions < before, "the database to read it and the end of its connection")
    assert verdict(other, new) is Verdict.RENEWED


def test_a_database_whose_clock_was_set_forward_is_asked_again(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock, read anew, explains why the request seemed late: that costs two round trips and no outage."""
    reading = store._reading
    assert reading is not None
    monkeypatch.setattr(store, "_reading", reading._replace(theirs=reading.theirs - 3_600_000_000))
    take(store, "wallet")


def test_connections_that_died_in_the_pool_cost_nothing(store: SqlStore, way: Proxy) -> None:
    """A store whose pooled connections were all reset works on with new ones, at every verb."""
    lease = take(store, "wallet")
    way.cut()
    assert verdict(store, lease) is Verdict.RENEWED
    way.cut()
    assert store.inspect("wallet") is not None
    way.cut()
    assert len(list(store.list())) == 2
    way.cut()
    assert store.release(lease.claim)
    way.cut()
    take(store, "wallet", "ben")


class _SoftTimeLimit(Exception):
    """What Celery raises in the middle of anything."""


@contextlib.contextmanager
def _struck_after(seconds: float) -> Iterator[None]:
    def strike(_signum: int, _frame: FrameType | None) -> None:
        raise _SoftTimeLimit

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupted_acquire_leaves_no_lock_and_no_answer(way: Proxy, other: SqlStore) -> None:
    """A soft time limit while the answer is awaited: the key is given back, and the next request hears its own."""
    with opened(way.url) as store:
        take(store, "first")
        way.delay(0.3, "answers")
        with pytest.raises(_SoftTimeLimit), _struck_after(0.15):
            store.acquire(claim("wallet", "anna"))
        way.delay(0)
        assert other.inspect("wallet") is None
        assert take(store, "wallet", "ben").owner == "ben"
        assert refused(store, "wallet", "cleo").holder == "ben"


def test_an_interrupt_between_request_and_answer_is_no_mix_up(store: SqlStore, way: Proxy) -> None:
    """Struck while an answer is unheard, a connection is never used again."""
    take(store, "wallet", "anna")
    way.delay(0.3, "answers")
    with pytest.raises(_SoftTimeLimit), _struck_after(0.15):
        store.inspect("wallet")
    way.delay(0)
    for number in range(10):
        assert take(store, f"key {number}", "ben").claim.owner == "ben"
        assert refused(store, f"key {number}", "cleo").holder == "ben"
