"""What becomes of locks that live in a session when a soft time limit or Ctrl-C strikes in the middle of a verb."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

import pytest

from celery_locks.guard import Guard
from celery_locks.lease import Lease, Verdict
from celery_locks.stores.sessions import Held
from tests.stores.contract import claim, patient, refused, take, verdict
from tests.stores.session_stores import QUICK, opened, place_of, room_of, session_of
from tests.stores.time_limits import SoftTimeLimit, struck_after, struck_awaiting

if TYPE_CHECKING:
    from celery_locks.stores.sessions import SessionStore
    from tests.servers.proxy import Proxy
    from tests.stores.places import Place
    from tests.stores.session_stores import Database


# Python where it starts a thread, and PyMySQL where it drops an answer, complain of what struck them, and go on.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def place(database: Database) -> Place:
    return place_of(database)


def test_an_interrupt_takes_nothing_from_others(
    store: SessionStore, way: Proxy, other: SessionStore, held: Lease
) -> None:
    """A soft time limit while an answer is awaited ends neither the connection nor what else lives in it."""
    with struck_awaiting(way):
        store.acquire(claim("wallet", "anna"))
    # As the guard does. The thread that keeps the session may have been first.
    store.release(claim("wallet", "anna"))
    take(other, "wallet", "ben")
    assert held.held()
    assert verdict(store, held) is Verdict.RENEWED
    assert refused(store, "wallet", "cleo").holder == "ben"


def test_what_an_interrupted_acquire_took_is_given_back_by_itself(
    store: SessionStore, way: Proxy, other: SessionStore, held: Lease
) -> None:
    """Also when nobody asks for it: the thread that keeps the session does."""
    with struck_awaiting(way):
        store.acquire(claim("wallet", "anna"))
    patient(other, "wallet", "ben", timeout=20)
    assert held.held()


def test_an_interrupted_release_releases(store: SessionStore, way: Proxy, other: SessionStore, held: Lease) -> None:
    """Repeated, as the guard does, it says that it was done."""
    with struck_awaiting(way):
        store.release(held.claim)
    assert store.release(held.claim)
    take(other, "held", "ben")


def test_an_interrupted_renewal_loses_nothing(store: SessionStore, way: Proxy, held: Lease) -> None:
    """The next one hears its own answer."""
    with struck_awaiting(way):
        store.renew([held])
    assert verdict(store, held) is Verdict.RENEWED


def test_a_job_that_is_interrupted_inside_a_second_lock_keeps_the_first(
    store: SessionStore, way: Proxy, other: SessionStore
) -> None:
    """It may clean up under the lock it has, and gives back both."""
    guard = Guard(store)

    def job(first: Lease) -> bool:
        with struck_awaiting(way):
            guard.run(claim("second", "inner"), lambda _: None, lambda _: None)
        return first.held() and refused(other, "first").holder == "outer"

    assert guard.run(claim("first", "outer"), job, lambda _: False)
    patient(other, "first", "ben", timeout=20)
    patient(other, "second", "ben", timeout=20)


@pytest.mark.parametrize("seconds", [number / 10_000 for number in range(1, 40, 5)])
def test_an_interrupt_at_any_moment_leaves_nothing_behind(
    database: Database, other: SessionStore, seconds: float
) -> None:
    """Wherever it strikes in many acquires and releases, the key is free when the guard is through with it."""
    with opened(database.url + QUICK) as store:
        guard, rounds = Guard(store), 0
        take(store, "connected")
        while rounds < 200:
            with contextlib.suppress(SoftTimeLimit), struck_after(seconds):
                # The clean-up of a client library may swallow one.
                for _ in range(50):
                    rounds += 1
                    guard.run(claim("wallet", f"owner {rounds}"), lambda _: None, lambda _: None, strict=False)
        patient(other, "wallet", "ben", timeout=20)
        assert set(room_of(store).held) <= {store._name("connected")}
        take(store, "another", "cleo")
    gc.collect()


@pytest.mark.parametrize("step", ["taken", "given back"])
def test_an_interrupt_right_after_an_answer_leaves_nothing_behind(
    database: Database, other: SessionStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Struck when the answer was heard and nothing noted, a lock is given back, and no release calls it lost."""
    with opened(database.url) as store:
        take(store, "connected")
        verb = {"taken": "take", "given back": "give_back"}[step]
        spoken = getattr(type(room_of(store).session), verb)

        def struck(*arguments: object) -> None:
            spoken(*arguments)
            monkeypatch.undo()
            raise SoftTimeLimit

        lease = take(store, "wallet") if step == "given back" else None
        monkeypatch.setattr(type(room_of(store).session), verb, struck)
        with pytest.raises(SoftTimeLimit):
            store.release(lease.claim) if lease else store.acquire(claim("wallet"))
        if lease:
            assert store.release(lease.claim)
        patient(other, "wallet", "ben", timeout=20)


def test_a_claim_that_was_never_noted_can_be_given_back(database: Database, other: SessionStore) -> None:
    """Whoever was interrupted before it heard of its lock has no fence, and its release frees the lock nevertheless."""
    with opened(database.url) as store:
        take(store, "connected")
        unheard = Held(store._name("wallet"), store.prefix, "wallet", "anna")
        with room_of(store).mutex:
            session_of(store).take(unheard)
            room_of(store).held[unheard.name] = unheard
        assert store.release(claim("wallet", "anna"))
        take(other, "wallet", "ben")
