"""The locks of a store: made, listed, forced and taken up again."""

from __future__ import annotations

import pytest

from celery_locks import (
    LockConfigError,
    LockNotOwned,
    Locks,
    signals,
)
from celery_locks.lease import Holding
from celery_locks.stores import Store
from celery_locks.stores.memory import MemoryStore
from tests.unit.fakes import heard


def test_the_holder_is_shown(room):
    """Owner, fence and remaining time; None for a free key."""
    room.take(owner="somebody", ttl=20.0)
    holding = room.locks.holder("wallet:42")
    assert holding == Holding("wallet:42", "somebody", holding.fence, 20.0)
    assert room.locks.locked("wallet:42") is True
    assert room.locks.holder("wallet:43") is None
    assert room.locks.locked("wallet:43") is False


def test_all_holders_are_listed(room):
    """Sorted, those that match, none that expired."""
    for key in ("wallet:2", "wallet:1", "report:1"):
        room.take(key)
    room.take("wallet:0", ttl=1.0)
    room.clock.advance(2.0)
    assert [holding.key for holding in room.locks.list("wallet:*")] == ["wallet:1", "wallet:2"]
    assert [holding.key for holding in room.locks.list()] == ["report:1", "wallet:1", "wallet:2"]


@pytest.mark.parametrize("pattern", [3, None, b"*", ["wallet:*"]], ids=repr)
def test_a_pattern_must_be_a_text(room, pattern):
    """One line, with an example of one."""
    with pytest.raises(LockConfigError, match=r"the pattern must be a text such as 'wallet:\*', not"):
        room.locks.list(pattern)


def test_a_key_is_freed_by_force(room):
    """Whoever has it; False when it was free."""
    room.take(owner="somebody")
    assert room.locks.force_release("wallet:42") is True
    assert room.holder() is None
    assert room.locks.force_release("wallet:42") is False


def test_force_frees_nothing_without_a_key(room):
    """An empty key is a mistake, not everything."""
    with pytest.raises(LockConfigError):
        room.locks.force_release("")


def test_a_lock_acquired_elsewhere_is_taken_up(lock, room):
    """With its owner's name another process releases it: same fence, same time left."""
    lock.acquire()
    room.clock.advance(4.0)
    restored = room.locks.restore("wallet:42", lock.owner)
    assert (restored.owner, restored.fence) == (lock.owner, lock.fence)
    assert restored.remaining == pytest.approx(6.0)
    assert restored.owned()
    restored.release()
    assert room.holder() is None


def test_a_restored_lease_is_counted_from_before_the_answer(lock, room, monkeypatch):
    """An answer that took 2 s on its way was true 2 s ago: the restored lock claims no time it may not have."""
    lock.acquire()
    inspect = room.store.inspect

    def slowly(key):
        holding = inspect(key)
        room.clock.advance(2.0)
        return holding

    monkeypatch.setattr(room.store, "inspect", slowly)
    assert room.locks.restore("wallet:42", lock.owner).remaining == pytest.approx(8.0)


def test_a_restored_lock_can_be_renewed(lock, room):
    """It is a lock like others."""
    lock.acquire()
    restored = room.locks.restore("wallet:42", lock.owner)
    restored.renew(60)
    assert room.locks.holder("wallet:42").remaining == pytest.approx(60.0)


def test_a_lock_of_another_owner_is_not_taken_up(room):
    """`LockNotOwned` names who has it."""
    room.take(owner="somebody")
    with pytest.raises(LockNotOwned, match="cannot be taken up: somebody has it") as caught:
        room.locks.restore("wallet:42", "me")
    assert caught.value.holder == "somebody"


def test_a_free_lock_is_not_taken_up(room):
    """It expired meanwhile, or never was."""
    with pytest.raises(LockNotOwned):
        room.locks.restore("wallet:42", "me")


def test_a_lock_in_a_connection_is_not_taken_up(lock, room, monkeypatch):
    """It cannot be handed on."""
    lock.acquire()
    monkeypatch.setattr(type(room.store), "in_connection", True)
    with pytest.raises(LockConfigError, match="lives in its connection: it cannot be taken up elsewhere"):
        room.locks.restore("wallet:42", lock.owner)


class Blind(Store):
    """A store that can show nothing."""

    def __init__(self, clock) -> None:
        super().__init__(clock=clock)
        self._memory = MemoryStore(clock=clock)
        self.acquire, self.renew, self.release = self._memory.acquire, self._memory.renew, self._memory.release

    def acquire(self, claim): ...
    def renew(self, leases): ...
    def release(self, claim): ...


@pytest.mark.parametrize(
    "ask",
    [
        lambda locks: locks.holder("a"),
        lambda locks: locks.locked("a"),
        lambda locks: locks.list(),
        lambda locks: locks.force_release("a"),
        lambda locks: locks.restore("a", "me"),
        lambda locks: locks.lock("a").locked(),
    ],
    ids=["holder", "locked", "list", "force_release", "restore", "Lock.locked"],
)
def test_a_store_that_cannot_show_says_so(clock, ask):
    """A capability a store lacks is an error that names the store."""
    with pytest.raises(LockConfigError, match="Blind cannot show or force what it holds"):
        ask(Locks(Blind(clock)))


def test_a_store_that_cannot_show_still_locks(clock):
    """Acquiring, and a release that is refused, need no showing."""
    lock = Locks(Blind(clock)).lock("a", ttl=10.0)
    assert lock.acquire() is True
    clock.advance(10.0)
    with pytest.raises(LockNotOwned):
        lock.release()


def test_locks_are_made_from_a_url():
    """The prefix goes to the store."""
    assert Locks("memory://", prefix="bank:").store.prefix == "bank:"


def test_the_same_memory_is_the_same_locks():
    """`memory://name` is shared in this process, another name is not."""
    lock = Locks("memory://shared-by-this-test").lock("a")
    lock.acquire()
    assert Locks("memory://shared-by-this-test").locked("a") is True
    assert Locks("memory://another-of-this-test").locked("a") is False
    lock.release()


def test_prefixes_keep_locks_apart():
    """Two apps on one store with prefixes of their own do not meet."""
    store_url = "memory://prefixes-of-this-test"
    lock = Locks(store_url, prefix="one:").lock("a")
    lock.acquire()
    assert Locks(store_url, prefix="two:").lock("a").acquire(blocking=False) is True
    assert [holding.key for holding in Locks(store_url, prefix="one:").list()] == ["a"]


def test_a_plain_lock_has_no_job(lock):
    """Its events name no task."""
    with heard(signals.acquired) as said:
        lock.acquire()
    assert [(event.task, event.task_id) for event in said] == [(None, None)]


@pytest.mark.parametrize("given", [{"prefix": "bank:"}, {"claim_window": 1}])
def test_a_store_that_is_made_already_takes_no_settings(given):
    """What would be passed over in silence is refused."""
    with pytest.raises(LockConfigError, match="made already"):
        Locks(MemoryStore(), **given)


@pytest.mark.parametrize("prefix", [None, 5, b"x"])
def test_a_prefix_is_a_text(prefix):
    """Anything else would fail at the first key."""
    with pytest.raises(LockConfigError, match="prefix must be a text"):
        Locks("memory://", prefix=prefix)
