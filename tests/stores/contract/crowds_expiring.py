"""Keys that several hold for a time: each has its own, and any process may speak for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from celery_locks import Locks
from celery_locks.errors import LockNotOwned
from celery_locks.lease import Busy, Verdict
from tests.stores.contract.asking import claim, run_out
from tests.stores.contract.crowding import Crowd, alone, enter, owners, part, reader, turned_away
from tests.waiting import wait_until

if TYPE_CHECKING:
    from celery_locks.lease import Lease


class CrowdsExpiringContract:
    """For those whose leases end with their ttl, and do not live in a session."""

    #: A ttl to wait for, with time for a busy machine to see both who has it and who had it.
    dies_after: ClassVar[float] = 1.0

    def wait_out(self, lease: Lease) -> None:
        """Wait until a lease has run out, in the store as well. A store that counts coarsely waits longer."""
        run_out(lease)

    def test_a_repeated_acquire_takes_no_second_place(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """Its first answer was lost: it has the same fence, and a full ttl again, also when all places are taken."""
        for ask in (part, reader):
            first = enter(crowd, ask(key, "a", ttl=5.0))
            enter(crowd, ask(key, "b"))
            again = enter(other, ask(key, "a"))
            assert again.fence == first.fence
            assert owners(crowd, key) == ["a", "b"]
            assert (crowd.holders(key)[0].remaining or 30) > 20
            assert crowd.force_release(key)

    def test_owner_and_key_are_enough(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """Who renews, releases or disowns need not know as what a holder came: so does the parent of one that died."""
        for ask in (part, reader):
            leases = [enter(crowd, ask(key, f"{ask.__name__} {name}")) for name in "abc"]
            for lease in leases:
                lease.claim = claim(key, lease.owner)
            assert other.renew(leases) == [Verdict.RENEWED] * 3
            assert other.release(leases[0].claim)
            assert other.disown(leases[1].claim)
            assert owners(crowd, key) == [leases[2].owner]
            assert other.release(leases[2].claim)

    def test_who_dies_frees_its_own_place(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """One that says nothing more is gone when its own time is over, and not before; the others stay."""
        for ask in (part, reader):
            short, long = enter(crowd, ask(key, "a", ttl=self.dies_after)), enter(crowd, ask(key, "b"))
            assert owners(other, key) == ["a", "b"]
            self.wait_out(short)
            assert owners(other, key) == ["b"]
            assert [holding.owner for holding in other.list(f"{key}*")] == ["b"]
            assert crowd.renew([short, long]) == [Verdict.LOST, Verdict.RENEWED]
            assert turned_away(other, alone(key, "writer")).holder == "b"
            assert not crowd.release(short.claim)
            assert enter(crowd, ask(key, "a")).fence > long.fence
            assert crowd.force_release(key)

    def test_a_place_stays_taken_when_its_work_is_done(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """`at_least`: until so long after it came and no longer; the others keep theirs."""
        names = {ask: f"{key} {ask.__name__}" for ask in (part, reader)}
        for ask, name in names.items():
            stays = enter(crowd, ask(name, "stays")).claim
            Locks(crowd).run(name, lambda: None, ttl=60.0, at_least=1.5, slots=stays.slots, shared=stays.shared)
            assert len(other.holders(name)) == 2
        for name in names.values():
            wait_until(lambda name=name: owners(other, name) == ["stays"], "its place to be free", timeout=15.0)

    def test_a_dead_ones_place_is_taken_in_time(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """By the next that asks once the lease is over, and never before its holder knows."""
        short = enter(crowd, part(key, "a", 2, ttl=self.dies_after))
        enter(crowd, part(key, "b", 2))

        def gets_in() -> bool:
            return not isinstance(other.acquire(part(key, "c", 2)), Busy)

        wait_until(gets_in, "the place of one that died", interval=0.002)
        assert not short.held()
        assert owners(crowd, key) == ["b", "c"]

    def test_readers_that_died_let_a_writer_in(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """A key whose readers all ran out is free for one that wants it alone, and their leases are lost."""
        leases = [enter(crowd, reader(key, name, ttl=self.dies_after)) for name in "abc"]
        turned_away(other, alone(key, "writer"))
        self.wait_out(leases[-1])
        fence = enter(other, alone(key, "writer")).fence
        assert fence > max(lease.fence for lease in leases)
        assert crowd.renew(leases) == [Verdict.LOST] * 3
        assert not crowd.release(leases[0].claim)
        assert owners(crowd, key) == ["writer"]

    def test_one_of_several_is_taken_up_elsewhere(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """By its owner's name, and given back there: the others keep theirs."""
        mine, theirs = Locks(crowd), Locks(other)
        first, second = (mine.lock(key, slots=2) for _ in range(2))
        assert first.acquire(blocking=False)
        assert second.acquire(blocking=False)
        restored = theirs.restore(key, second.owner or "")
        restored.renew(60)
        assert restored.owned()
        restored.release()
        assert first.owned()
        assert not second.owned()
        with pytest.raises(LockNotOwned):
            theirs.restore(key, second.owner or "")
