"""One holder alone is put out of a key."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from celery_locks.lease import Verdict
from tests.stores.contract.asking import claim, take, verdict
from tests.stores.contract.crowding import enter, owners, part

if TYPE_CHECKING:
    from celery_locks.stores import Store

ROUNDS = 20


class EvictsContract:
    """For stores that can free a key from the holder with one fence."""

    def test_the_holder_with_that_fence_is_put_out(self, store: Store, other: Store, key: str) -> None:
        """The key is free, the next fence is higher, and its holder has lost: so its renewal and its release say."""
        lease = take(store, key)
        assert other.evict(key, lease.fence)
        assert store.inspect(key) is None
        assert not store.release(lease.claim)
        assert verdict(store, lease) is Verdict.LOST
        assert take(other, key, "ben").fence > lease.fence

    def test_a_holder_with_another_fence_keeps_its_key(self, store: Store, other: Store, key: str) -> None:
        """Be the fence higher, lower, or that of the holder before."""
        before = take(store, key, "cleo")
        assert store.release(before.claim)
        lease = take(store, key)
        for fence in (lease.fence - 1, lease.fence + 1, before.fence, 0):
            assert not other.evict(key, fence)
        assert verdict(store, lease) is Verdict.RENEWED

    def test_nobody_is_put_out_of_a_free_key(self, store: Store, key: str) -> None:
        """A fence of the past evicts nobody."""
        lease = take(store, key)
        assert store.release(lease.claim)
        assert not store.evict(key, lease.fence)
        assert not store.evict(f"{key}:never", lease.fence)

    def test_the_holder_after_is_never_put_out(self, store: Store, other: Store, key: str) -> None:
        """However the eviction falls between a release and the next acquire, the next holder keeps its key."""
        for number in range(ROUNDS):
            lease = take(store, key, f"first {number}")
            evicting = threading.Thread(target=other.evict, args=(key, lease.fence))
            evicting.start()
            store.release(lease.claim)
            after = take(store, key, f"second {number}")
            evicting.join(30)
            assert verdict(store, after) is Verdict.RENEWED
            assert store.release(claim(key, f"second {number}"))


class CrowdEvictsContract:
    """For those whose keys several may hold at a time."""

    def test_one_of_several_is_put_out(self, store: Store, other: Store, key: str) -> None:
        """The others keep their places, and somebody else may have the one that is free now."""
        first, second, third = (enter(store, part(key, name)) for name in ("anna", "ben", "cleo"))
        assert not other.evict(key, third.fence + 1)
        assert other.evict(key, second.fence)
        assert not other.evict(key, second.fence)
        assert owners(other, key) == ["anna", "cleo"]
        assert [verdict(store, lease) for lease in (first, second, third)] == [
            Verdict.RENEWED,
            Verdict.LOST,
            Verdict.RENEWED,
        ]
        assert not store.release(second.claim)
        assert enter(store, part(key, "dora")).fence > third.fence
