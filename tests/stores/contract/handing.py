"""A store that hands a lock over from one owner to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.lease import Busy, Claim, Lease, Verdict
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.contract.fixtures import StoreFixtures

if TYPE_CHECKING:
    from celery_locks.stores import Store


def after(key: str, owner: str, before: str, ttl: float = 30.0) -> Claim:
    """A claim of one that comes after another."""
    return claim(key, owner, ttl)._replace(after=before)


def take_over(store: Store, key: str, owner: str, before: str, ttl: float = 30.0) -> Lease:
    """Take over what is there to be taken over."""
    answer = store.acquire(after(key, owner, before, ttl))
    assert isinstance(answer, Lease), f"{before} should have handed {key!r} over to {owner}, who got {answer}"
    return answer


class HandingContract(StoreFixtures):
    """It declares so by `hands_over`."""

    def test_a_lock_is_handed_over_with_its_fence(self, store: Store, other: Store, key: str) -> None:
        """Whoever comes after the owner has the key then, under the same fence, and the other has nothing."""
        first = take(store, key)
        second = take_over(other, key, "ben", "anna")
        assert (second.owner, second.fence) == ("ben", first.fence)
        assert refused(store, key, "cleo").holder == "ben"
        assert verdict(store, first) is Verdict.LOST
        store.release(first.claim)
        assert verdict(store, second) is Verdict.RENEWED
        assert store.release(second.claim)
        assert take(other, key, "cleo").fence > first.fence

    def test_it_is_there_and_back(self, store: Store, other: Store, key: str) -> None:
        """What was handed over may be handed on, and back to who had it before."""
        fences = {take(store, key).fence}
        fences |= {take_over(other, key, "ben", "anna").fence, take_over(store, key, "anna", "ben").fence}
        assert len(fences) == 1
        assert refused(other, key).holder == "anna"

    def test_asking_again_means_the_same(self, store: Store, key: str) -> None:
        """The answer was lost: the same claim again has the same lease."""
        take(store, key)
        fences = {take_over(store, key, "ben", "anna").fence for _ in range(2)}
        assert len(fences) == 1
        assert refused(store, key, "cleo").holder == "ben"

    def test_nobody_else_hands_it_over(self, store: Store, key: str) -> None:
        """The key is another's than the one who was to have it: it is taken, as for anybody."""
        take(store, key)
        answer = store.acquire(after(key, "cleo", "ben"))
        assert isinstance(answer, Busy)
        assert answer.holder == "anna"

    def test_of_a_free_key_it_is_a_claim_like_any_other(self, store: Store, key: str) -> None:
        """Nobody has the key, also not who was to hand it over: it is taken, with a higher fence."""
        first = take(store, key)
        store.release(first.claim)
        assert take_over(store, key, "ben", "anna").fence > first.fence

    def test_it_lasts_for_the_ttl_of_the_new_claim(self, store: Store, key: str) -> None:
        """The former ttl counts no more, whether it was longer or shorter."""
        for before, now in ((60.0, 20.0), (5.0, 60.0)):
            take(store, key, ttl=before)
            lease = take_over(store, key, "ben", "anna", ttl=now)
            assert now - 10 < (refused(store, key, "cleo").remaining or 0.0) <= now + 1
            assert store.release(lease.claim)
            key = f"{key}'"
