"""Requests that are late, answers that are cut off, lost or late, and soft time limits while one is awaited."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from celery_locks import Locks
from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Verdict
from tests.stores.contract.asking import claim, hears_its_own, refused, take, verdict
from tests.stores.time_limits import struck_awaiting
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores import Store
    from tests.stores.places import Place


class _BrokenWay:
    """What tests of a way that breaks ask for, besides the fixtures of a `place`."""

    #: What is found in the request of each verb.
    acquiring: ClassVar[bytes]
    releasing: ClassVar[bytes]
    renewing: ClassVar[bytes]
    #: For how many seconds what a client gave up may still be taken. None, where it hears that it is free first.
    gives_back_within: ClassVar[float] = 0

    @pytest.fixture
    def given_back(self, other: Store) -> Callable[[], object]:
        """Sees `wallet` free."""
        return lambda: wait_until(
            lambda: other.inspect("wallet") is None, "what was taken to be given back", self.gives_back_within
        )

    @contextlib.contextmanager
    def unanswered(self, way: Any, request: bytes) -> Iterator[None]:
        """The next such request arrives, and its answer does not."""
        way.lose_answer(request)
        yield


class CutAnswerContract(_BrokenWay):
    """For stores whose verb is sent again, on a new connection, when one was cut off."""

    def give_up(self, store: Any, owner: str) -> None:
        """Say what a client says that gives up its request for `wallet`."""
        raise NotImplementedError

    def test_an_acquire_whose_answer_is_cut_holds(self, store: Store, way: Any, other: Store) -> None:
        """The request went through and its answer did not come: sent again it is the same one, with the same fence."""
        way.cut_answer(self.acquiring)
        lease = take(store, "wallet")
        holding = other.inspect("wallet")
        assert holding is not None
        assert (holding.owner, holding.fence) == ("anna", lease.fence)
        assert store.release(lease.claim)
        take(other, "wallet", "ben")

    def test_a_release_whose_answer_is_cut_has_released(self, store: Store, way: Any, other: Store) -> None:
        """The release is sent again and hears that it was done."""
        lease = take(store, "wallet")
        way.cut_answer(self.releasing)
        assert store.release(lease.claim)
        take(other, "wallet", "ben")

    def test_a_renewal_whose_answer_is_cut_has_renewed(self, store: Store, way: Any) -> None:
        """Renewing twice is renewing."""
        lease = take(store, "wallet")
        way.cut_answer(self.renewing)
        assert verdict(store, lease) is Verdict.RENEWED

    def test_an_acquire_that_is_cut_twice_is_an_outage_and_leaves_no_lock(
        self, store: Store, way: Any, other: Store
    ) -> None:
        """Whoever never hears of its lock gives it back."""
        way.cut_answer(self.acquiring)
        way.cut_answer(self.acquiring)
        with pytest.raises(StoreUnavailable):
            store.acquire(claim("wallet"))
        take(other, "wallet", "ben")

    def test_connections_that_died_in_the_pool_cost_nothing(self, store: Store, way: Any) -> None:
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

    def test_an_acquire_that_arrives_after_the_mark_of_its_owner_is_refused(self, store: Store, other: Store) -> None:
        """The network does not keep the order of two connections: the mark may come first, and others in between."""
        self.give_up(other, "anna")
        take(other, "wallet", "ben")
        assert other.release(claim("wallet", "ben"))
        assert store.acquire(claim("wallet", "anna")) == Busy()
        assert other.inspect("wallet") is None

    def test_an_outage_on_the_way_in_is_not_a_no(self, way: Any, place: Place) -> None:
        """The face for plain code says that the store is down: neither taken nor free."""
        with place.opened(way.url) as store:
            locks = Locks(store)
            way.refuse()
            with pytest.raises(StoreUnavailable):
                locks.lock("wallet").acquire(blocking=False)
            way.accept()
            assert locks.lock("wallet").acquire(blocking=False)


class LateAnswerContract(_BrokenWay):
    """For stores whose leases outlive a connection, and that give a request up when its answer does not come in time.

    A fixture `delivered` lets go what was held, and waits until the server has done it.
    """

    #: Whether an owner that gave up is marked as done. Else its late request finds that its lease is gone.
    marks_who_gave_up: ClassVar[bool] = True

    def test_an_acquire_whose_answer_is_lost_is_an_outage_and_leaves_no_lock(
        self, store: Store, way: Any, other: Store, given_back: Callable[[], object]
    ) -> None:
        """After its timeout the client gives back what it may have taken, and says that it does not know."""
        with (
            self.unanswered(way, self.acquiring),
            pytest.raises(StoreUnavailable, match="hangs, is overloaded or out of reach"),
        ):
            store.acquire(claim("wallet"))
        given_back()
        self._gets_nothing(store)
        take(other, "wallet", "ben")

    def test_a_release_whose_answer_is_lost_may_be_repeated(self, store: Store, way: Any, other: Store) -> None:
        """Whoever hears of an outage and asks again hears that the key was given back, though others had it since."""
        lease = take(store, "wallet")
        with self.unanswered(way, self.releasing), pytest.raises(StoreUnavailable):
            store.release(lease.claim)
        for owner in ("ben", "cleo"):
            take(other, "wallet", owner)
            assert other.release(claim("wallet", owner))
        assert store.release(lease.claim)

    def test_a_late_answer_is_heard_by_nobody(self, store: Store, way: Any) -> None:
        """The answer that comes after its client gave up is not taken for the answer to the next request."""
        way.hold("answers")
        with pytest.raises(StoreUnavailable):
            store.acquire(claim("wallet", "anna"))
        way.let_go("answers")
        hears_its_own(store)

    def test_an_acquire_that_arrives_after_its_client_gave_up_leaves_no_lock(
        self, store: Store, way: Any, other: Store, delivered: Callable[[], None], given_back: Callable[[], object]
    ) -> None:
        """A request that the network held and let go later takes no key for nobody."""
        way.hold("requests")
        with pytest.raises(StoreUnavailable):
            store.acquire(claim("wallet", "anna"))
        take(other, "wallet", "ben")
        assert other.release(claim("wallet", "ben"))
        assert self.acquiring in way.waiting("requests")
        delivered()
        given_back()
        self._gets_nothing(store)
        take(other, "wallet", "cleo")

    def test_a_late_renewal_renews_nothing_of_others(
        self, store: Store, way: Any, other: Store, delivered: Callable[[], None]
    ) -> None:
        """A beat that arrives after the key has changed hands changes nothing."""
        lease = take(store, "wallet", ttl=60)
        way.hold("requests")
        with pytest.raises(StoreUnavailable):
            store.renew([lease])
        assert other.release(lease.claim)
        new = take(other, "wallet", "ben", ttl=5)
        delivered()
        holding = other.inspect("wallet")
        assert holding is not None
        assert holding.owner == "ben"
        assert holding.remaining is not None
        assert holding.remaining <= 5
        assert verdict(store, lease) is Verdict.LOST
        assert verdict(other, new) is Verdict.RENEWED

    def test_a_late_release_frees_nothing_of_others(
        self, store: Store, way: Any, other: Store, delivered: Callable[[], None]
    ) -> None:
        """A release that arrives after its lease ran out and the key was retaken changes nothing."""
        lease = take(store, "wallet", ttl=0.3)
        way.hold("requests")
        with pytest.raises(StoreUnavailable):
            store.release(lease.claim)
        wait_until(lambda: other.inspect("wallet") is None, "the end of the lease")
        new = take(other, "wallet", "ben")
        delivered()
        assert verdict(other, new) is Verdict.RENEWED

    def _gets_nothing(self, store: Store) -> None:
        if self.marks_who_gave_up:
            assert store.acquire(claim("wallet", "anna")) == Busy()


class InterruptContract(_BrokenWay):
    """For stores whose interrupted acquire gives back by itself what it may have taken."""

    @pytest.fixture
    def unhurried(self, way: Any, place: Place) -> Iterator[Store]:
        """A client whose requests go through the proxy and take their time."""
        with place.opened(way.url) as store:
            take(store, "first")
            yield store

    def test_an_interrupted_acquire_leaves_no_lock_and_no_answer(
        self, unhurried: Store, way: Any, given_back: Callable[[], object]
    ) -> None:
        """A soft time limit while the answer is awaited: the key is given back, and the next request hears its own."""
        with struck_awaiting(way):
            unhurried.acquire(claim("wallet", "anna"))
        given_back()
        assert take(unhurried, "wallet", "ben").owner == "ben"
        assert refused(unhurried, "wallet", "cleo").holder == "ben"
