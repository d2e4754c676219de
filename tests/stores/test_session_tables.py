"""What is written down beside a lock that lives in a session, and how its key gets its name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Claim, Lease, Verdict
from celery_locks.stores import open_store
from celery_locks.stores.advisory import AdvisoryStore
from celery_locks.stores.getlock import GetLockStore, statements
from celery_locks.stores.sessions import Held
from tests.stores.contract import claim, patient, refused, take, verdict
from tests.stores.places import straight
from tests.stores.processes import Crew
from tests.stores.session_stores import empty, opened, room_of, rows, session_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.stores.sessions import SessionStore
    from tests.stores.places import Place
    from tests.stores.session_stores import Database


@pytest.fixture
def place(database: Database) -> Place:
    return straight(database.url, opened)


def test_names_are_all_of_64_bits(advisory_database: Database) -> None:
    """Of 100,000 keys no two have one name, whichever half or byte of it is left out the odds are as they should be."""
    store = open_store(advisory_database.url)
    assert isinstance(store, AdvisoryStore)
    names = {store._name(f"wallet:{number}") for number in range(100_000)}
    assert len(names) == 100_000
    assert {len(name) for name in names} == {8}
    assert [len({name[place] for name in names}) for place in range(8)] == [256] * 8


def test_names_for_get_lock_are_short_enough() -> None:
    """64 characters are allowed, and capitals are small letters: ours has no capitals, and space for any place."""
    name = statements.lock(b"\xff" * 20, 10**9)
    assert len(name.strip("'")) <= 64
    assert name == name.lower()


def test_databases_of_one_server_do_not_share_locks() -> None:
    """GET_LOCK's names are the server's: that of the database is in each, and its capitals do not matter."""
    stores = [open_store(f"mysql+getlock://localhost/{name}") for name in ("bank", "Bank", "bank2", "ban")]
    names = [store._name("k") for store in stores if isinstance(store, GetLockStore)]
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_two_keys_of_one_name_exclude_each_other(
    store: SessionStore, other: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should two keys ever share their 64 bits, one waits for the other; neither is taken for the other."""
    monkeypatch.setattr(
        type(store), "_name", lambda _self, _key: b"collides" if isinstance(store, AdvisoryStore) else bytes(20)
    )
    lease = take(store, "one", "anna")
    for client in (store, other):
        assert refused(client, "two", "ben").holder == "anna"
        assert refused(client, "two", "anna").holder == "anna"
        assert client.inspect("two") is None
    assert not store.release(claim("two", "anna"))
    assert store.renew([Lease(Claim("two", "anna", 30), lease.fence, None), lease]) == [Verdict.LOST, Verdict.RENEWED]
    assert store.release(lease.claim)
    take(other, "two", "ben")


def test_what_is_released_leaves_no_row_in_postgres(advisory_database: Database) -> None:
    """Fences come from a sequence, so that nothing needs to be remembered of a key."""
    empty(advisory_database)
    with opened(advisory_database.url) as store:
        for number in range(50):
            lease = take(store, f"key {number}")
            assert store.release(lease.claim)
        assert rows(advisory_database) == 0


def test_what_a_dead_holder_leaves_is_swept_away(advisory_database: Database) -> None:
    """Its row names nobody, and goes when the next process connects; those of the living stay."""
    empty(advisory_database)
    with opened(advisory_database.url) as store, Crew() as crew:
        kept = take(store, "kept")
        crew.start(_take_and_die, advisory_database.url).join(30)
        wait_until(lambda: store.inspect("dead") is None, "the lock of the dead to end")
        assert rows(advisory_database) == 2
        with opened(advisory_database.url) as other:
            assert [holding.key for holding in other.list()] == ["kept"]
        assert rows(advisory_database) == 1
        assert verdict(store, kept) is Verdict.RENEWED


def _take_and_die(url: str) -> None:
    import os  # noqa: PLC0415 - in the child alone

    with opened(url) as store:
        take(store, "dead")
        os._exit(9)


def test_the_row_of_a_forced_key_goes_when_its_ghost_does(advisory_database: Database) -> None:
    """A key that was moved stays moved while its former holder hangs on to its first place."""
    empty(advisory_database)
    with opened(advisory_database.url) as other:
        with opened(advisory_database.url) as ghost:
            take(ghost, "wallet", "ghost")
            assert other.force_release("wallet")
            assert other.release(take(other, "wallet", "ben").claim)
            with opened(advisory_database.url) as third:
                assert third.release(take(third, "wallet", "cleo").claim)
            assert rows(advisory_database) == 1
        wait_until(advisory_database.is_quiet, "the ghost's session to end")
        with opened(advisory_database.url) as third:
            assert third.inspect("wallet") is None
        assert rows(advisory_database) == 0


def test_fences_grow_when_the_clock_of_mariadb_is_set_back(getlock_database: Database) -> None:
    """A key that is remembered has a higher fence next time, whatever the clock says."""
    with opened(getlock_database.url) as store:
        first = take(store, "wallet")
        assert store.release(first.claim)
        session_of(store).do("SET timestamp = 1000000000")
        fences = [first.fence]
        for owner in ("ben", "cleo"):
            fences.append(take(store, "wallet", owner).fence)
            assert store.release(claim("wallet", owner))
        assert fences == sorted(set(fences))


def test_null_from_get_lock_is_no_contention(getlock_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server could not tell: that is an outage, and nobody is told that the key is taken."""
    with opened(getlock_database.url) as store:
        take(store, "held")
        monkeypatch.setattr(statements, "lock", lambda _name, _place: "NULL")
        with pytest.raises(StoreUnavailable, match=r"GET_LOCK answered NULL.*out of memory"):
            store.acquire(claim("wallet"))


def test_a_session_of_mariadb_that_changes_is_noticed(getlock_database: Database) -> None:
    """Where something between us and the server shares sessions, no lock is taken in another's."""
    with opened(getlock_database.url) as store:
        lease = take(store, "held")
        room_of(store).session.id += 1
        with pytest.raises(StoreUnavailable, match="the session has changed"):
            store.acquire(claim("wallet"))
        assert not lease.held()
        assert verdict(store, lease) is Verdict.LOST
    wait_until(getlock_database.is_quiet, "the session to end", 30)


def test_the_lock_of_a_request_that_fails_halfway_is_given_back(
    database: Database, store: SessionStore, other: SessionStore
) -> None:
    """The lock outlives the statement that failed after taking it: it is undone, and the next claim is served."""
    empty(database)
    held = take(store, "held", "cleo")
    name = database.url.rpartition("/")[2]
    database.server.ask("ALTER TABLE celery_locks_sessions ADD CONSTRAINT picky CHECK (owner <> 'anna')", name)
    try:
        with pytest.raises(StoreUnavailable, match="picky"):
            store.acquire(claim("wallet", "anna"))
        patient(other, "wallet", "ben", timeout=20)
        assert verdict(store, held) is Verdict.RENEWED
    finally:
        database.server.ask("ALTER TABLE celery_locks_sessions DROP CONSTRAINT picky", name)


def test_a_lock_that_was_not_noted_is_undone(store: SessionStore, other: SessionStore) -> None:
    """What an interrupted request has taken is found by its name alone."""
    take(store, "connected")
    session = session_of(store)
    lost = Held(store._name("wallet"), store.prefix, "wallet", "anna")
    session.take(lost)
    assert isinstance(other.acquire(claim("wallet", "ben")), Busy)
    session.undo(lost)
    take(other, "wallet", "ben")
    # Again, it takes nothing from others.
    session.undo(lost)
    assert refused(store, "wallet", "cleo").holder == "ben"


def test_no_key_is_shown_by_its_digest(store: SessionStore, other: SessionStore) -> None:
    """Whoever lists sees keys as they were given, whatever is in them, and owners also that no encoding can write."""
    odd = "a pair: \U0001f511, and a NUL: \0"
    take(store, odd, "\udc00")
    (holding,) = other.list()
    assert (holding.key, holding.owner) == (odd, "\udc00")
    assert not re.search("[0-9a-f]{8}", holding.key)
