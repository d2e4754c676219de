"""Leases that end by time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

import pytest

from celery_locks import Locks
from celery_locks.lease import Holding, Verdict
from celery_locks.stores import Inspects, Store
from tests.stores.contract.asking import patient, refused, run_out, take, verdict
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.lease import Lease


class ExpiringContract:
    """For stores whose leases end by time."""

    #: A ttl to wait for, not a whole number of seconds; longer where the store cannot keep one so short.
    short: ClassVar[float] = 0.35

    def wait_out(self, lease: Lease) -> None:
        """Wait until a lease has run out. Overridden where the store frees its key only some time after that."""
        run_out(lease)

    def test_an_expired_key_is_free_and_never_early(self, store: Store, other: Store, key: str) -> None:
        """A lease of a fraction of a second ends, and not before its holder knows that it has ended."""
        lease = take(store, key, ttl=self.short)
        patient(other, key, "ben", timeout=self.short + 10)
        assert not lease.held()

    def test_a_lease_and_its_key_count_down(self, store: Store, other: Store, key: str) -> None:
        """The lease, whoever is refused, and whoever looks all see a remaining time that goes down from the ttl."""
        lease = take(store, key, ttl=30.5)
        for remaining in (lambda: lease.remaining, lambda: refused(other, key).remaining):
            first = remaining()
            assert 0 < first <= 30.501
            wait_until(lambda: remaining() < first, "less remaining time")  # noqa: B023 - called within the loop

    def test_a_lease_counts_from_before_the_request(self, store: Store, other: Store, key: str) -> None:
        """The deadline counts from a moment at which the store had not yet given the key: it is never too late."""
        if not isinstance(other, Inspects):
            pytest.fail("write another proof for a store that cannot be looked into")
        looks: list[Holding | None] = []
        readings: list[float] = []

        def clock() -> float:
            if not readings:
                looks.append(other.inspect(key))
            readings.append(time.monotonic())
            return readings[-1]

        store.clock = clock
        lease = take(store, key, ttl=30.5)
        assert looks == [None]
        assert lease.deadline == pytest.approx(readings[0] + 30.5, abs=1e-6)

    def test_renewal_keeps_a_key(self, store: Store, other: Store, key: str) -> None:
        """A renewed lease outlives its first ttl, by the ttl that it then has."""
        lease = take(store, key, ttl=1.0)
        lease.ttl = 30.0
        assert verdict(store, lease) is Verdict.RENEWED
        wait_until(lambda: not lease.held(), "the end of the first ttl")
        assert refused(other, key).remaining > 20

    def test_a_repeated_acquire_has_a_full_ttl(self, store: Store, other: Store, key: str) -> None:
        """The holder that asks again gets its full ttl from then on."""
        first = take(store, key, ttl=1.0)
        second = take(store, key, ttl=30.0)
        assert second.fence == first.fence
        assert second.remaining > 20
        wait_until(lambda: not first.held(), "the end of the first ttl")
        assert refused(other, key).remaining > 15

    def test_a_lease_is_handed_on_by_the_name_of_its_owner(self, store: Store, other: Store, key: str) -> None:
        """Another client takes it over: it is the same lease, with that one's ttl, and that one gives it back."""
        first = take(store, key, ttl=60.0)
        second = take(other, key, ttl=1.5)
        assert second.fence == first.fence
        assert 0 < refused(store, key).remaining <= 3
        second.ttl = 60.0
        assert verdict(other, second) is Verdict.RENEWED
        assert take(store, key, ttl=90.0).fence == first.fence
        assert refused(other, key).remaining > 60
        assert other.release(second.claim)
        assert take(store, key, "ben").fence > first.fence

    def test_an_expired_lease_is_never_renewed(self, store: Store, other: Store, key: str) -> None:
        """A lease that ran out is lost, also when nobody took its key since, and stays lost."""
        lease = take(store, key, ttl=self.short)
        self.wait_out(lease)
        assert verdict(store, lease) is Verdict.LOST
        take(other, key, "ben")
        assert verdict(store, lease) is Verdict.LOST
        assert refused(store, key, "cleo").holder == "ben"

    def test_a_late_release_is_refused(self, store: Store, key: str) -> None:
        """A lease that ran out cannot be given back: its owner learns that it was over."""
        lease = take(store, key, ttl=self.short)
        self.wait_out(lease)
        assert not store.release(lease.claim)

    def test_a_stolen_lease_is_lost(self, store: Store, other: Store, key: str) -> None:
        """Once expired and retaken, a key obeys its new owner alone, and the new fence is higher."""
        old = take(store, key, ttl=self.short)
        new = patient(other, key, "ben", timeout=self.short + 10)
        assert new.fence > old.fence
        assert verdict(store, old) is Verdict.LOST
        assert not store.release(old.claim)
        assert refused(store, key, "anna").holder == "ben"
        assert verdict(other, new) is Verdict.RENEWED

    def test_the_same_owner_after_expiry_is_a_new_holder(self, store: Store, key: str) -> None:
        """An owner whose lease ran out and asks again gets a new lease with a higher fence."""
        old = take(store, key, ttl=self.short)
        self.wait_out(old)
        assert take(store, key).fence > old.fence

    def test_fences_grow_across_expiry(self, store: Store, other: Store, key: str) -> None:
        """A fence is higher than that of any holder before, however often the leases ran out."""
        fences = []
        for owner, client in zip(("anna", "ben", "cleo"), (store, other, store), strict=True):
            lease = take(client, key, owner, ttl=self.short)
            fences.append(lease.fence)
            self.wait_out(lease)
        assert fences == sorted(set(fences))

    def test_a_key_stays_taken_when_its_work_is_done(self, store: Store, other: Store, key: str) -> None:
        """`at_least`: until so long after it was taken and no longer, though its ttl is a minute. So do several."""
        several = [f"{key}:a", f"{key}:b"]
        before = time.monotonic()
        for keys in (key, several):
            Locks(store).run(keys, lambda: None, ttl=60.0, at_least=2.0)
        for each in (key, *several):
            # Some count whole seconds.
            assert 0 < refused(other, each).remaining <= 3.0
        for each in (key, *several):
            patient(other, each, "ben", timeout=30.0)
        assert time.monotonic() >= before + 2.0

    def test_an_expired_key_is_not_shown(self, store: Store, key: str) -> None:
        """Whoever looks does not see a lease that ran out."""
        if not isinstance(store, Inspects):
            pytest.fail("a store with a ttl that cannot be looked into: write why in its own test, and skip this one")
        names = [f"{key}:{number}" for number in range(3)]
        leases = [take(store, name, ttl=self.short) for name in names]
        self.wait_out(leases[-1])
        assert list(store.list(f"{key}*")) == []
        assert store.inspect(names[0]) is None
        assert not store.force_release(names[1])
        assert verdict(store, leases[2]) is Verdict.LOST
