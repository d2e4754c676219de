"""Locks that live in a session: how long it lasts, who is in it, and what is known when it ends."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import LockLost, StoreUnavailable
from celery_locks.guard import Guard
from celery_locks.lease import Lease, State, Verdict
from tests.stores.contract import claim, refused, take, verdict
from tests.stores.places import straight
from tests.stores.session_stores import QUICK, keepers, opened, room_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.sessions import SessionStore
    from tests.servers.proxy import Proxy
    from tests.stores.places import Place
    from tests.stores.session_stores import Database


@pytest.fixture
def place(database: Database) -> Place:
    return straight(database.url, opened, "?timeout=0.5")


def test_nothing_connects_before_the_first_verb(database: Database) -> None:
    """A store that is opened, and closed again, has asked nobody for anything."""
    with opened(database.url):
        assert database.sessions() == []


def test_all_locks_of_a_process_live_in_one_session(store: SessionStore, database: Database) -> None:
    """Fifty locks, taken by five threads, are one connection and one thread that keeps it."""
    threads = [threading.Thread(target=take, args=(store, f"key {number}", "anna")) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(list(store.list())) == 50
    assert len(database.sessions()) == 1
    assert len(keepers()) == 1


def test_two_owners_of_a_process_exclude_each_other(store: SessionStore, other: SessionStore) -> None:
    """The server would let the session take its own lock again: that owners are two is known to us alone."""
    take(store, "wallet", "anna")
    for _ in range(3):
        assert refused(store, "wallet", "ben").holder == "anna"
    assert store.release(claim("wallet", "anna"))
    take(other, "wallet", "ben")


def test_a_lease_asked_for_twice_is_given_back_once(store: SessionStore, other: SessionStore) -> None:
    """However often its owner asks, the session has the lock one time."""
    for _ in range(3):
        take(store, "wallet", "anna")
    assert store.release(claim("wallet", "anna"))
    take(other, "wallet", "ben")


def test_a_session_outlives_the_servers_patience(database: Database, other: SessionStore) -> None:
    """A lease whose beats are far apart is kept: the session is never idle for as long as the server would bear."""
    with opened(database.url + QUICK) as store:
        lease = take(store, "wallet", ttl=3600)
        end = time.monotonic() + 3
        wait_until(lambda: time.monotonic() > end, "more than the idle_timeout to pass")
        assert lease.held()
        refused(other, "wallet")
        assert verdict(store, lease) is Verdict.RENEWED


def test_a_session_that_was_ended_is_known_at_once(
    store: SessionStore, other: SessionStore, database: Database
) -> None:
    """Whoever asks its lease hears that it is over, and all leases of the process are."""
    leases = [take(store, f"key {number}", f"owner {number}") for number in range(3)]
    database.end_sessions()
    wait_until(lambda: not any(lease.held() for lease in leases), "the news of the end", 30)
    with pytest.raises(LockLost, match="the connection it lived in is over"):
        leases[0].ensure_held()
    assert store.renew(leases) == [Verdict.LOST] * 3
    assert not store.release(leases[0].claim)
    for number, lease in enumerate(leases):
        assert take(other, f"key {number}", "ben").fence > lease.fence


def test_a_session_that_was_ended_is_made_anew(store: SessionStore, database: Database) -> None:
    """The next claim after the end of a session is a new session's, with the owner of before too."""
    first = take(store, "wallet")
    database.end_sessions()
    wait_until(lambda: not first.held(), "the news of the end", 30)
    wait_until(database.is_quiet, "the lock to end", 30)
    second = take(store, "wallet")
    assert second.fence > first.fence
    assert (first.held(), second.held()) == (False, True)
    assert store.renew([first, second]) == [Verdict.LOST, Verdict.RENEWED]


def test_a_lost_session_is_noticed_within_one_beat(
    store: SessionStore, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A job whose session ends is told by the keeper's next beat, once, and the log says how it was lost."""
    told: list[Lease] = []
    done = threading.Event()

    def job(lease: Lease) -> str:
        database.end_sessions()
        assert done.wait(10)
        return lease.reason

    def lost(lease: Lease) -> None:
        told.append(lease)
        done.set()

    with pytest.raises(LockLost):
        Guard(store).run(claim("wallet", ttl=1), job, lambda _: None, beat=1 / 3, on_lost=lost)
    assert [lease.state for lease in told] == [State.LOST]
    assert "the connection it lived in is over" in told[0].reason
    wait_until(lambda: "the connection it lived in is over" in caplog.text, "the log line")


def test_a_restart_ends_all_locks_and_fences_grow(store: SessionStore, other: SessionStore, database: Database) -> None:
    """After a kill of the server nobody holds a lock, and every fence is higher than all before."""
    leases = [take(store, f"key {number}") for number in range(40)]
    database.server.kill()
    wait_until(lambda: not leases[0].held(), "the news of the end", 30)
    with pytest.raises(StoreUnavailable, match="check that the server runs"):
        store.acquire(claim("another"))
    database.server.start()
    assert store.renew(leases) == [Verdict.LOST] * 40
    assert list(other.list()) == []
    fences = [take(other, lease.key, "ben").fence for lease in leases]
    assert min(fences) > max(lease.fence for lease in leases)


def test_a_server_that_pauses_takes_nothing(store: SessionStore, other: SessionStore, database: Database) -> None:
    """A pause shorter than the idle_timeout is an outage: nobody knows, nothing is lost, and no answer is mixed up."""
    lease = take(store, "wallet")
    database.server.pause()
    with pytest.raises(StoreUnavailable, match=r"no answer within 0.5 s.*it hangs"):
        store.renew([lease])
    with pytest.raises(StoreUnavailable):
        store.acquire(claim("another", "ben"))
    assert lease.held()
    database.server.resume()
    assert verdict(store, lease) is Verdict.RENEWED
    assert refused(other, "wallet").holder == "anna"
    take(other, "another", "cleo")


def test_a_holder_that_is_cut_off_knows_it_before_the_next_one(
    database: Database, proxy: Callable[[str], Proxy], other: SessionStore
) -> None:
    """When a network is cut without a word, the holder stops to believe in its lease before the server frees it."""
    way = proxy(database.url)
    with opened(way.url + QUICK) as store:
        lease = take(store, "wallet")
        way.hang()
        began = time.monotonic()
        last = began
        while not isinstance(other.acquire(claim("wallet", "ben")), Lease):
            if lease.held():
                last = time.monotonic()
            assert time.monotonic() < began + 20, "the server did not free it"
            time.sleep(0.005)
        assert not lease.held()
        assert last < began + 2
        assert store.renew([lease]) == [Verdict.LOST]


def test_nothing_grows_with_the_number_of_owners(store: SessionStore) -> None:
    """Owners that have released are forgotten in the end, and held keys are only those that are held."""
    for number in range(6000):
        room_of(store).finish(claim("wallet", f"owner {number}"), b"name") if number else take(store, "wallet")
    assert len(room_of(store)._done) <= 4096
    assert len(room_of(store).held) == 1


def test_a_forced_key_stays_free_while_its_holder_is_still_there(store: SessionStore, database: Database) -> None:
    """Whoever hangs on to a key that was forced from it bars nobody: not a process that connects later either."""
    ghosts = [take(store, "wallet", "first")]
    for turn in range(3):
        with opened(database.url) as forcing:
            assert forcing.force_release("wallet")
        with opened(database.url) as next_one:
            lease = take(next_one, "wallet", f"owner {turn}")
            assert lease.fence > ghosts[-1].fence
            assert refused(store, "wallet", "ben").holder == f"owner {turn}"
            assert next_one.release(lease.claim)
        ghosts.append(take(store, "wallet", f"ghost {turn}"))
    assert store.renew(ghosts) == [*[Verdict.LOST] * 3, Verdict.RENEWED]


def test_a_forced_out_holder_lets_go_at_its_next_beat(store: SessionStore, database: Database) -> None:
    """Its session stays, with all else that is in it, and holds one lock less."""
    lease, kept = take(store, "wallet"), take(store, "kept")
    with opened(database.url) as forcing:
        assert forcing.force_release("wallet")
    assert store.renew([lease, kept]) == [Verdict.LOST, Verdict.RENEWED]
    assert store.release(kept.claim)
    assert database.is_quiet() or len(database.sessions()) == 1
    assert room_of(store).held == {}


def test_waiting_needs_no_ttl(store: SessionStore, other: SessionStore) -> None:
    """Whoever waits for a key looks again and again, for there is no end that could be told beforehand."""
    lease = take(store, "wallet")
    threading.Timer(0.1, store.release, [lease.claim]).start()
    outcome = Guard(other).enter(claim("wallet", "ben"), wait=10)
    assert isinstance(outcome, Lease)
    assert outcome.remaining is None
    assert math.isfinite(outcome.fence)
    Guard(other).leave(outcome)
