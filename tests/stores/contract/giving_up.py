"""Owners that give up their request, and all verbs in any order, as on paper."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pytest

from celery_locks.lease import Busy, Lease, Verdict
from tests.stores.contract.asking import claim, take, verdict

if TYPE_CHECKING:
    from celery_locks.stores import Store


class GivesUp(Protocol):
    """Says to a store what a client says that gives up its request for a key."""

    def __call__(self, store: Any, owner: str, key: str, /) -> None: ...


class GivingUpContract:
    """For stores that are told when an owner has given up its request, and that give it nothing from then on."""

    #: How many games are played against the lock on paper.
    games: ClassVar[int] = 12

    @pytest.fixture
    def give_up(self) -> GivesUp:
        raise NotImplementedError

    def test_an_owner_that_gave_up_gets_nothing(self, store: Store, give_up: GivesUp) -> None:
        """Its request that arrives late finds the key free and is refused; others are not."""
        give_up(store, "anna", "wallet")
        assert store.acquire(claim("wallet", "anna")) == Busy()
        take(store, "wallet", "ben")

    def test_an_owner_that_gave_up_takes_nothing_over(self, store: Store, give_up: GivesUp) -> None:
        """Also where locks are handed over, and its request to come after another arrives late."""
        lease = take(store, "wallet", "anna")
        give_up(store, "ben", "wallet")
        assert isinstance(store.acquire(claim("wallet", "ben")._replace(after="anna")), Busy)
        assert verdict(store, lease) is Verdict.RENEWED

    def test_giving_up_gives_back_what_was_taken(self, store: Store, give_up: GivesUp) -> None:
        """A request that arrived without its answer is undone."""
        lease = take(store, "wallet", "anna")
        give_up(store, "anna", "wallet")
        assert take(store, "wallet", "ben").fence > lease.fence

    def test_giving_up_takes_nothing_from_the_holder(self, store: Store, give_up: GivesUp) -> None:
        """Who gives up while another holds the key changes nothing for that one, and is refused from then on."""
        lease = take(store, "wallet", "ben")
        give_up(store, "anna", "wallet")
        assert verdict(store, lease) is Verdict.RENEWED
        assert store.release(lease.claim)
        assert store.acquire(claim("wallet", "anna")) == Busy()
        assert take(store, "wallet", "cleo").fence > lease.fence

    def test_the_store_never_disagrees_with_a_lock_on_paper(self, store: Store, give_up: GivesUp) -> None:
        """Any sequence of verbs by three owners on one key is answered as it is on paper."""
        for seed in range(self.games):
            game = _Game(store, give_up, f"wallet {seed}")
            game.play(random.Random(seed))
            assert game.fence > 0, "nobody ever had the key: this game proves nothing"


class _Game:
    """A store and a lock on paper, to which all is said at once."""

    def __init__(self, store: Any, give_up: GivesUp, key: str) -> None:
        self._store, self._tell, self._key = store, give_up, key
        self._holder: str | None = None
        self.fence = 0
        self._done: set[str] = set()

    def play(self, dice: random.Random) -> None:
        """Thirty moves, after each ten of which others take part."""
        for step in range(30):
            move = dice.choice((self._acquire, self._renew, self._release, self._give_up, self._force))
            move(dice.choice("abc") + str(step // 10))

    def _acquire(self, owner: str) -> None:
        answer = self._store.acquire(claim(self._key, owner))
        free = self._holder in (None, owner) and owner not in self._done
        assert isinstance(answer, Lease) is free, (owner, self._holder, self._done)
        if isinstance(answer, Lease):
            assert answer.fence == self.fence if self._holder else answer.fence > self.fence
            self._holder, self.fence = owner, answer.fence

    def _renew(self, owner: str) -> None:
        expected = Verdict.RENEWED if self._holder == owner else Verdict.LOST
        assert verdict(self._store, Lease(claim(self._key, owner), 1, time.monotonic() + 30)) is expected

    def _release(self, owner: str) -> None:
        assert self._store.release(claim(self._key, owner)) is (owner == self._holder or owner in self._done)
        if owner == self._holder:
            self._over(owner)

    def _give_up(self, owner: str) -> None:
        self._tell(self._store, owner, self._key)
        self._over(owner)

    def _force(self, _: str) -> None:
        assert self._store.force_release(self._key) is (self._holder is not None)
        self._holder = None

    def _over(self, owner: str) -> None:
        self._done.add(owner)
        if owner == self._holder:
            self._holder = None
