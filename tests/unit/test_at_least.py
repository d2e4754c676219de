"""A key that stays taken for at least so long after it was taken, whatever becomes of the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery.exceptions import Retry

from celery_locks import LockConfigError, LockedTask, LockLost, Locks, LockTimeout, StoreUnavailable, signals
from celery_locks.board import CLAIMED, LEAVING
from celery_locks.lease import Verdict
from celery_locks.pool import burial
from tests.unit import bank
from tests.unit.bank import job
from tests.unit.fakes import START, heard, pass_time
from tests.unit.mail import Mail

if TYPE_CHECKING:
    from tests.unit.fakes import Room
    from tests.unit.pools import Pool

KEY = "wallet:42"


def left(room: Room, key: str = KEY) -> float | None:
    """Seconds for which the store keeps the key taken, should nobody ask for it again."""
    holding = room.store.memory.inspect(key)
    return holding.remaining if holding else None


@pytest.mark.parametrize("beat", [True, False])
def test_a_job_that_is_done_leaves_its_key_taken(room, beat):
    """Until that long after its start, and then it is free. That it was given back is said at once."""
    with heard(signals.released, signals.expired, signals.lost) as events:
        assert room.locks.run(KEY, lambda: room.clock.advance(2.0), heartbeat=beat, at_least=60) is None
    assert [(type(event).__name__, event.held) for event in events] == [("Released", 2.0)]
    assert left(room) == pytest.approx(58.0)
    with pytest.raises(LockTimeout):
        room.locks.run(KEY, list)
    room.clock.advance(58.0)
    assert room.holder() is None
    assert room.watched() == []


def test_a_job_that_took_longer_frees_its_key_at_once(room):
    """With its release, as always."""
    room.locks.run(KEY, lambda: pass_time(room, 60.0), heartbeat=True, at_least=60)
    assert room.holder() is None
    assert len(room.store.called("release")) == 1


def test_a_job_that_fails_leaves_its_key_taken(room):
    """As one that asks for another try does."""
    with pytest.raises(ZeroDivisionError):
        room.locks.run(KEY, lambda: 1 / 0, at_least=60)
    assert left(room) == pytest.approx(60.0)


def test_a_task_has_it_as_an_option(room):
    """`lock_at_least`, or the setting; a direct call that comes too soon times out."""
    task = job(room, lock_at_least=60)
    task(42)
    assert left(room) == pytest.approx(60.0)
    with pytest.raises(LockTimeout):
        task(42)
    assert bank.task(bank.withdraw, conf={"lock_at_least": 5})._plan.options.at_least == 5.0


@pytest.mark.parametrize("unique", [None, "until_done"])
@pytest.mark.parametrize("policy", ["requeue", "skip", "fail"])
def test_a_retry_waits_for_the_key_of_its_own_try(room, policy, unique):
    """Whatever its policy is for a key that others have: it is not dropped for what itself has left taken."""
    mail = Mail(room, lock_at_least=60, lock_on_contention=policy, lock_unique=unique, lock_max_requeues=0)

    def retry(task):
        if not task.request.retries:
            raise task.retry(countdown=5)
        return "done"

    mail.body = retry
    mail.task.delay(42)
    assert isinstance(mail.run(mail.sent[0]), Retry)
    assert isinstance(mail.run(mail.sent[1]), Retry)
    room.clock.advance(60.0)
    assert mail.run(mail.sent[2]) == "done"
    assert len(mail.runs) == 2


def test_a_lock_that_is_released_leaves_its_key_taken(room):
    """`release()` and the end of `with` are in order, and it is not owned any more; a second release is refused."""
    lock = room.locks.lock(KEY, ttl=10, at_least=60)
    with lock:
        pass
    assert (lock.locked(), lock.owned()) == (True, False)
    assert not lock.acquire(timeout=50)
    assert lock.acquire(timeout=11)
    lock.release()
    assert left(room) == pytest.approx(60.0)
    assert lock.lease is None


def test_it_counts_from_the_answer(room):
    """For the work begins then: the store may have taken its time."""
    room.store.delay("acquire", 5.0)
    room.locks.run(KEY, list, at_least=60)
    assert left(room) == pytest.approx(60.0)


@pytest.mark.parametrize(("ttl", "at_least"), [(30, 5), (10, 60), (10, 600)])
def test_a_machine_that_dies_leaves_its_key_taken(room, ttl, at_least):
    """At any moment the key is taken at the store until then, and for no longer than a ttl beyond what it must be."""
    lock = room.locks.lock(KEY, ttl=ttl, heartbeat=True, at_least=at_least)
    room.store.delay("acquire", 1.0)
    assert lock.acquire()
    until = room.clock.now + at_least
    for _ in range(2 * at_least):
        assert room.clock.now + left(room) >= until
        assert left(room) <= max(until - room.clock.now, 0) + ttl
        assert 0 < lock.remaining <= ttl
        pass_time(room, 0.5)


def test_a_loss_is_found_as_soon_as_always(room):
    """At the next beat, not when the key need not stay taken any more; and forcing it frees it."""
    lock = room.locks.lock(KEY, ttl=30, heartbeat=True, at_least=3600)
    assert lock.acquire()
    assert room.locks.force_release(KEY)
    pass_time(room, 10.0)
    with pytest.raises(LockLost):
        lock.lease.ensure_held()
    room.locks.run("done", list, at_least=60)
    assert room.locks.force_release("done")
    assert room.locks.run("done", lambda: "free") == "free"


def test_no_renewal_shortens_it(room):
    """One by hand neither, and what is believed of the lease is what was asked for."""
    lock = room.locks.lock(KEY, ttl=10, at_least=60)
    assert lock.acquire()
    lock.renew(3)
    assert lock.remaining == pytest.approx(3.0)
    assert left(room) == pytest.approx(60.0)
    lock.renew(100)
    assert left(room) == pytest.approx(100.0)
    lock.release()
    assert left(room) == pytest.approx(60.0)


def test_without_a_heartbeat_it_lasts_that_long(room):
    """Work that takes longer than its ttl has not lost what is taken for it."""
    lock = room.locks.lock(KEY, ttl=10, at_least=60)
    with lock as lease:
        room.clock.advance(59.0)
        assert lease.held()
    assert left(room) == pytest.approx(1.0)


def test_a_lease_that_was_lost_to_silence_leaves_its_key_taken(room):
    """Its beats had no answer, so its work was stopped. It is a crash like any other."""

    def work():
        room.store.fail("renew", times=100)
        pass_time(room, 11.0)
        room.store._errors.clear()

    with pytest.raises(LockLost):
        room.locks.run(KEY, work, ttl=10, heartbeat=True, at_least=60)
    assert left(room) == pytest.approx(49.0)


def test_an_outage_at_the_end_leaves_it_taken_for_longer(room):
    """As long as the store has kept it for: the result of the work is not touched."""
    room.store.fail("renew", times=1)
    assert room.locks.run(KEY, lambda: "done", ttl=30, at_least=60) == "done"
    assert left(room) == pytest.approx(90.0)


def test_a_part_of_the_store_that_does_not_answer_is_an_outage(room, monkeypatch):
    """Nothing is known of a key when its part of the store is silent."""
    lock = room.locks.lock(KEY, at_least=60)
    lock.acquire()
    monkeypatch.setattr(room.store, "renew", lambda leases: [Verdict.UNKNOWN for _ in leases])
    with pytest.raises(StoreUnavailable):
        lock.release()


def test_a_store_of_connections_cannot(tmp_path):
    """Refused with the reason where it is declared, for a task also where no store is named."""
    url = f"file://{tmp_path}"
    with pytest.raises(LockConfigError, match=r"lock 'a': at_least=5 cannot be kept by FileStore: its locks end with"):
        Locks(url).lock("a", at_least=5)
    said = bank.refusal(lock_at_least=5, conf={"lock_store": url})
    assert said.startswith("task bank.withdraw: at_least=5 cannot be kept by FileStore")
    assert "lock_at_least needs a store with a ttl" in bank.refusal(lock_at_least=5, conf={"lock_store": None})
    assert bank.task(bank.withdraw, conf={"lock_store": url}, base=LockedTask)._plan


@pytest.mark.parametrize("at_least", [-1, "5", True, float("inf")])
def test_it_is_a_duration(room, at_least):
    """Anything else is an error."""
    with pytest.raises(LockConfigError, match="at_least must be"):
        room.locks.lock(KEY, at_least=at_least)


# In a worker's main process


def test_the_parent_knows_of_it(room: Room, region: Any, rings: list[float]):
    """It is told with the lease, and so is what a renewal by hand makes of that."""
    lease = room.guard.enter(room.claim(KEY)._replace(at_least=60.0), beat=10.0)
    assert rings is not None
    assert region.term(0).until == START + 60.0
    lease.renew(5.0)
    assert (region.term(0).until, region.term(0).ttl) == (START + 60.0, 5.0)


def test_the_parents_beats_reach_it(pool: Pool):
    """As those of the process itself would."""
    lease = pool.hold(until=START + 600.0)
    pool.children.look()
    pass_time(pool.room, 25.0)
    assert left(pool.room, lease.key) == pytest.approx(575.0)


@pytest.mark.parametrize("state", [None, CLAIMED, LEAVING])
def test_a_dead_process_leaves_its_keys_taken(pool: Pool, state: int | None):
    """Its job had begun, also when it was renewing its lease by hand or giving it back."""
    lease = pool.hold(pid=7, until=START + 60.0)
    if state is not None:
        pool.board.regions[0].move(0, state)
    with heard(signals.freed) as freed:
        burial.give_back(pool.left_by(7))
    assert left(pool.room, lease.key) == pytest.approx(60.0)
    assert len(freed) == (state != LEAVING)
    pool.room.clock.advance(60.0)
    assert pool.room.holder(lease.key) is None


def test_a_process_that_died_before_its_job_began_frees_its_key(pool: Pool):
    """Nothing has started that others are to keep away from."""
    lease = pool.hold(pid=7)
    region = pool.board.regions[0]
    entry = region.entry(0)
    region.claim(0, entry)
    burial.give_back(pool.left_by(7))
    assert pool.room.holder(lease.key) is None


def test_a_dead_process_frees_a_key_that_was_kept_long_enough(pool: Pool):
    """At once, as always."""
    lease = pool.hold(pid=7, until=START + 5.0)
    pool.room.clock.advance(5.0)
    burial.give_back(pool.left_by(7))
    assert pool.room.holder(lease.key) is None
