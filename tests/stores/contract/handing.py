"""A store that hands a lock over from one owner to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks import Locks
from celery_locks.canvas.handing import hand_over
from celery_locks.lease import Busy, Claim, Lease, Verdict
from celery_locks.stores.several import Several
from tests.stores.contract.asking import claim, refused, take, verdict
from tests.stores.contract.fixtures import StoreFixtures
from tests.stores.contract.several import joint_claim, take_all

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

    def test_several_keys_are_handed_over(self, store: Store, other: Store, key: str) -> None:
        """All of them, with their fences, by whoever asks twice as well; the former owner has none."""
        keys = [f"{key}:{name}" for name in "abc"]
        first = take_all(store, keys)
        for _ in range(2):
            second = take_all_over(other, keys, "ben", "anna")
            assert (second.keys, second.fences) == (tuple(keys), first.fences)
        assert {refused(store, each, "cleo").holder for each in keys} == {"ben"}
        assert Several(store).renew([first]) == [Verdict.LOST]
        assert Several(other).renew([second]) == [Verdict.RENEWED]
        assert not Several(store).release(first.claim)
        third = take_all_over(store, keys, "anna again", "ben")
        assert third.fences == first.fences
        assert Several(store).release(third.claim)
        later = take_all(other, keys, "cleo").fences
        assert all(later[each] > first.fences[each] for each in keys)

    def test_of_several_all_are_handed_over_or_none(self, store: Store, other: Store, key: str) -> None:
        """One of them was lost, and is another's: nobody has the rest, before and behind it, nor waits with it."""
        keys = [f"{key}:{name}" for name in "abc"]
        take_all(store, keys)
        assert store.release(claim(keys[1], "anna"))
        lease = take(other, keys[1], "rival")
        answer = Several(store).acquire(joint_claim(keys, "ben")._replace(after="anna"))
        assert isinstance(answer, Busy)
        assert (answer.key, answer.holder) == (keys[1], "rival")
        assert verdict(other, lease) is Verdict.RENEWED
        take(other, keys[0], "rival")

    @pytest.mark.parametrize("names", [("",), (":a", ":b")], ids=["a key", "several"])
    def test_what_was_lost_once_is_handed_over_again(self, store: Store, key: str, names: tuple[str, ...]) -> None:
        """A step of a workflow whose lease was lost hands nothing on; the key is free then.

        Whoever comes in the name of the next gets it, and a later try of that step hands it on in the same name.
        """
        guard, keys = Locks(store).guard, [f"{key}{name}" for name in names]
        lost = guard.enter(Locks(store).lock(keys).claim())
        assert isinstance(lost, Lease)
        for each in keys:
            assert Locks(store).force_release(each)
        assert not hand_over(guard, lost, "next", 30.0)
        assert not Locks(store).locked(keys)
        again = guard.enter(Locks(store).lock(keys).claim("again"))
        assert isinstance(again, Lease)
        assert hand_over(guard, again, "next", 30.0)
        assert {Locks(store).holder(each).owner for each in keys} == {"next"}

    def test_what_is_free_of_several_is_taken_anew(self, store: Store, key: str) -> None:
        """And what is there is handed over: the claim has all, as one that comes too late for its message."""
        keys = [f"{key}:{name}" for name in "abc"]
        first = take_all(store, keys)
        assert store.release(claim(keys[1], "anna"))
        second = take_all_over(store, keys, "ben", "anna")
        assert second.fences[keys[1]] > first.fences[keys[1]]
        assert {refused(store, each, "cleo").holder for each in keys} == {"ben"}


def take_all_over(store: Store, keys: list[str], owner: str, before: str) -> Lease:
    """Take several over."""
    answer = Several(store).acquire(joint_claim(keys, owner)._replace(after=before))
    assert isinstance(answer, Lease), f"{before} should have handed {keys} over to {owner}, who got {answer}"
    return answer
