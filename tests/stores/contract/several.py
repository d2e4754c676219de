"""Several keys in one lock, which every store can be asked for."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, ClassVar

import pytest

from celery_locks.errors import LockError
from celery_locks.lease import Busy, Claim, Lease, Verdict
from celery_locks.stores import Inspects
from celery_locks.stores.several import Several
from tests.judging import Stay, faults
from tests.stores.contract.asking import in_threads, refused, take
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from celery_locks.stores import Store


def joint_claim(keys: Sequence[str], owner: str = "anna", ttl: float = 30.0) -> Claim:
    first, *others = sorted(keys)
    return Claim(first, owner, ttl, others=tuple(others))


def take_all(store: Store, keys: Sequence[str], owner: str = "anna", ttl: float = 30.0) -> Lease:
    """Acquire keys which must be free."""
    answer = Several(store).acquire(joint_claim(keys, owner, ttl))
    assert isinstance(answer, Lease), f"{keys} should be free for {owner}, not {answer}"
    return answer


def patient_for_all(store: Store, keys: Sequence[str], owner: str, timeout: float = 60.0) -> Lease:
    """Ask until all are free, the same owner again and again."""

    def got() -> Lease | None:
        answer = Several(store).acquire(joint_claim(keys, owner))
        return answer if isinstance(answer, Lease) else None

    return wait_until(got, f"{keys} to be free for {owner}", timeout, interval=random.uniform(0.01, 0.08))


class SeveralContract:
    """For all stores: a claim of several keys gets all of them or none."""

    #: Whether one number orders such a lease among the holders of each of its keys.
    has_one_fence: ClassVar[bool] = True

    def test_all_keys_are_taken_and_given_back(self, store: Store, other: Store, key: str) -> None:
        """Nobody else has one of them until they are given back, and then each is free."""
        keys = [f"{key}:{name}" for name in "abc"]
        lease = take_all(store, keys)
        assert (lease.keys, lease.owner, lease.held()) == (tuple(keys), "anna", True)
        assert {refused(other, each).holder for each in keys} == {"anna"}
        assert Several(store).renew([lease]) == [Verdict.RENEWED]
        assert Several(store).release(lease.claim)
        for each in keys:
            take(other, each, "ben")

    def test_none_is_taken_when_one_is_busy(self, store: Store, other: Store, key: str) -> None:
        """The answer names the first that is, the others are free, and the same owner may ask again."""
        keys = [f"{key}:{name}" for name in "abcd"]
        held = [take(other, each, "ben") for each in keys[1:3]]
        for _ in range(2):
            answer = Several(store).acquire(joint_claim(keys))
            assert isinstance(answer, Busy)
            assert (answer.key, answer.holder) == (keys[1], "ben")
        for each in (keys[0], keys[3]):
            assert other.release(take(other, each, "cleo").claim)
        assert all(other.release(lease.claim) for lease in held)
        lease = take_all(store, keys)
        assert {refused(other, each, "dora").holder for each in keys} == {"anna"}
        assert Several(store).release(lease.claim)

    def test_fences_are_in_order_for_each_key(self, store: Store, other: Store, key: str) -> None:
        """A lease of several keys has for each a fence between those of the holders before and after it."""
        keys = [f"{key}:{name}" for name in "abc"]
        last = dict.fromkeys(keys, 0)
        for turn, client in enumerate((store, other, store)):
            for each in random.choices(keys, k=4):
                single = take(client, each, f"ben {turn} {last[each]}")
                assert single.fence > last[each]
                last[each] = single.fence
                assert client.release(single.claim)
            lease = take_all(client, keys, f"anna {turn}")
            assert all(lease.fence_of(each) > last[each] for each in keys)
            last = lease.fences
            if self.has_one_fence:
                assert last == dict.fromkeys(keys, lease.fence)
            else:
                with pytest.raises(LockError, match="has no fence for all its keys"):
                    _ = lease.fence
            assert Several(client).release(lease.claim)

    def test_asked_again_it_is_the_same_lease(self, store: Store, other: Store, key: str) -> None:
        """An owner whose answer was lost gets the same fences, and one release gives all back."""
        keys = [f"{key}:{name}" for name in "ab"]
        first, second = take_all(store, keys), take_all(store, keys)
        assert second.fences == first.fences
        assert Several(store).renew([second]) == [Verdict.RENEWED]
        assert Several(store).release(second.claim)
        take_all(other, keys, "ben")

    def test_a_lease_that_lost_one_key_is_lost(self, store: Store, other: Store, key: str) -> None:
        """The beat says so, among leases that are not; its release frees what is left and takes nothing else."""
        if not isinstance(store, Inspects):
            return
        keys = [f"{key}:{name}" for name in "abc"]
        lease, single = take_all(store, keys), take(store, f"{key}:d")
        assert other.force_release(keys[1])  # type: ignore[attr-defined]  # as the store that is its like
        new = take(other, keys[1], "ben")
        assert Several(store).renew([single, lease]) == [Verdict.RENEWED, Verdict.LOST]
        assert not Several(store).release(lease.claim)
        assert other.release(take(other, keys[0], "cleo").claim)
        assert other.release(take(other, keys[2], "cleo").claim)
        assert Several(other).renew([new]) == [Verdict.RENEWED]

    def test_what_a_dead_owner_held_is_given_back(self, store: Store, other: Store, key: str) -> None:
        """All that it had, though it had not all it asked for; what others have stays theirs."""
        keys = [f"{key}:{name}" for name in "abc"]
        take(store, keys[0], "anna")
        take(other, keys[2], "ben")
        assert Several(store).disown(joint_claim(keys))
        assert refused(other, keys[2], "cleo").holder == "ben"
        take(other, keys[0], "dora")
        take(other, keys[1], "dora")

    def test_keys_that_cross_stop_nobody(self, store: Store, key: str) -> None:
        """Threads that want two of three keys each, in any order, all get them, and no two one key together."""
        keys = [f"{key}:{name}" for name in "abc"]
        stays: dict[str, list[Stay]] = {each: [] for each in keys}

        def transfer(name: str) -> None:
            for turn in range(4):
                wanted = random.sample(keys, k=random.choice((1, 2, 2, 3)))
                lease = patient_for_all(store, wanted, f"{name}.{turn}")
                begin = time.monotonic()
                time.sleep(0)
                for each in wanted:
                    stays[each].append(Stay(begin, time.monotonic(), lease.fence_of(each), lease.owner))
                assert Several(store).release(lease.claim)

        in_threads(5, transfer)
        assert [fault for each in stays.values() for fault in faults(each)] == []
        assert {stay.owner for each in stays.values() for stay in each} == {
            f"thread {number}.{turn}" for number in range(5) for turn in range(4)
        }
