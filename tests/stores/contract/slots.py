"""How many hold a key together, who they are, and what an operator does about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks import Locks
from celery_locks.errors import LockNotOwned
from celery_locks.lease import Holding, Verdict
from tests.stores.contract.asking import take
from tests.stores.contract.crowding import Crowd, alone, enter, part, reader, turned_away
from tests.stores.contract.fixtures import StoreFixtures

if TYPE_CHECKING:
    from celery_locks.stores import Store


class SlotsContract(StoreFixtures):
    """The rest of what a store promises whose keys several may hold, which `CrowdsContract` brings along."""

    @pytest.fixture
    def crowd(self, store: Store) -> Crowd:
        return store  # type: ignore[return-value]  # it has the capability, or its test fails

    @pytest.fixture
    def twin(self, crowd: Crowd, other: Crowd) -> Crowd:
        """Who may speak for what `crowd` took: another client, unless its locks live in its session."""
        return crowd if crowd.in_connection else other

    def test_each_claims_own_number_counts(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """As many as it says may hold the key with it: of a task with three and one with five each goes by its own."""
        for name in "abc":
            enter(crowd, part(key, name, 3))
        turned_away(other, part(key, "d", 3))
        enter(other, part(key, "d", 5))
        enter(other, part(key, "e", 5))
        turned_away(other, part(key, "f", 5))
        assert crowd.release(part(key, "a"))
        turned_away(other, part(key, "f", 3))
        enter(other, part(key, "f", 5))

    def test_slots_are_changed_while_they_are_held(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """From the next claim on, whatever claims say; who is over the new number stays; and back to what they say."""
        assert crowd.slots(key) is None
        leases = [enter(crowd, part(key, name, 3)) for name in "abc"]
        other.set_slots(key, 4)
        assert crowd.slots(key) == 4
        leases.append(enter(crowd, part(key, "d", 3)))
        turned_away(crowd, part(key, "e", 9))
        other.set_slots(key, 2)
        assert crowd.renew(leases) == [Verdict.RENEWED] * 4
        for lease in leases[:2]:
            turned_away(crowd, part(key, "e", 9))
            assert crowd.release(lease.claim)
        turned_away(crowd, part(key, "e", 9))
        assert crowd.release(leases[2].claim)
        enter(crowd, part(key, "e", 9))
        other.set_slots(key, None)
        assert crowd.slots(key) is None
        enter(crowd, part(key, "f", 3))
        turned_away(crowd, part(key, "g", 3))

    def test_a_number_outlasts_all_holders(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """It is the key's until it is changed, and no other key's; who wants the key alone has it alone."""
        crowd.set_slots(key, 1)
        lease = enter(crowd, part(key, "a"))
        turned_away(other, part(key, "b"))
        assert crowd.release(lease.claim)
        enter(other, part(key, "b"))
        turned_away(crowd, part(key, "c"))
        assert other.slots(f"{key}:2") is None
        crowd.set_slots(key, 5)
        turned_away(crowd, alone(key, "d"))
        assert crowd.force_release(key)
        enter(crowd, alone(key, "d"))
        turned_away(crowd, alone(key, "e"))
        turned_away(crowd, part(key, "e"))
        crowd.set_slots(key, None)

    def test_all_holders_are_shown(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """Each with its owner, fence and remaining time; the first is the key's holder; nobody of a free key."""
        assert crowd.holders(key) == []
        leases = [enter(crowd, part(key, name)) for name in "abc"]
        shown = other.holders(key)
        assert [(each.key, each.owner, each.fence) for each in shown] == [(key, x.owner, x.fence) for x in leases]
        assert all(each.remaining is None or 20 < each.remaining <= 30.01 for each in shown)
        first = other.inspect(key)
        assert isinstance(first, Holding)
        assert first.owner == "a"
        assert sorted(each.owner for each in other.list(f"{key}*")) == ["a", "b", "c"]
        take(crowd, f"{key}:single")
        assert [each.owner for each in crowd.holders(f"{key}:single")] == ["anna"]

    def test_force_frees_all(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """All holders lose the key at once, and the next fence is higher than theirs."""
        leases = [enter(crowd, reader(key, name)) for name in "abc"]
        assert other.force_release(key)
        assert not other.force_release(key)
        assert crowd.renew(leases) == [Verdict.LOST] * 3
        assert enter(other, alone(key, "d")).fence > leases[-1].fence

    def test_a_lock_knows_that_it_is_one_of_several(self, crowd: Crowd, other: Crowd, key: str) -> None:
        """It is owned while it is held, and cannot be given back when it is gone."""
        mine, theirs = Locks(crowd), Locks(other)
        first, second = (mine.lock(key, slots=2) for _ in range(2))
        assert first.acquire(blocking=False)
        assert second.acquire(blocking=False)
        assert not theirs.lock(key, slots=2).acquire(blocking=False)
        assert first.owned()
        assert second.owned()
        second.release()
        assert first.owned()
        assert not second.owned()
        assert theirs.force_release(key)
        with pytest.raises(LockNotOwned):
            first.release()
