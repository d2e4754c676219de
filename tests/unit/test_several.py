"""Several keys under one lease, taken one after another from a store that fails when told to."""

from __future__ import annotations

import pytest

from celery_locks import LockError, LockNotOwned, LockTimeout, StoreUnavailable, signals
from celery_locks.lease import Busy, Claim, Lease, Verdict
from celery_locks.renewal import stays
from celery_locks.stores.several import JointLease, Several
from tests.unit.fakes import Room, heard, pass_time

KEYS = ("a", "b", "c")


def asking(owner: str = "anna", ttl: float = 30.0) -> Claim:
    return Claim("a", owner, ttl, others=("b", "c"))


@pytest.fixture
def several(room: Room) -> Several:
    return Several(room.store)


@pytest.fixture
def joint(several: Several) -> Lease:
    lease = several.acquire(asking())
    assert isinstance(lease, Lease)
    return lease


def holders(room: Room) -> list[str | None]:
    return [room.holder(key) for key in KEYS]


def test_all_are_taken_in_order(room, joint):
    """Under one owner, and one lease."""
    assert holders(room) == ["anna"] * 3
    assert [claim.key for claim in room.store.called("acquire")] == ["a", "b", "c"]
    assert (joint.keys, joint.key, joint.owner, joint.held()) == (KEYS, "a", "anna", True)


@pytest.mark.parametrize("taken", KEYS)
def test_none_is_taken_when_one_is_busy(room, several, taken):
    """The answer says which, who has it and for how long; and its owner may ask again."""
    other = room.take(taken, owner="ben", ttl=7.0)
    busy = several.acquire(asking())
    assert busy == Busy("ben", 7.0, key=taken)
    assert [holder for holder in holders(room) if holder] == ["ben"]
    room.free(other)
    assert isinstance(several.acquire(asking()), Lease)


def test_the_first_that_is_busy_is_named(room, several):
    """In the order of the keys: all who wait for them wait for the same one first."""
    room.take("c", owner="ben")
    room.take("b", owner="cleo")
    assert several.acquire(asking()).key == "b"


def test_an_outage_in_the_middle_gives_back_what_was_taken(room, several):
    """And for good, for a request may still be on its way."""
    room.store.fail("acquire", StoreUnavailable("gone"), done=False)
    room.store.calls.clear()
    with pytest.raises(StoreUnavailable):
        several.acquire(asking())
    acquire = room.store.acquire

    def second(claim):
        if claim.key == "b":
            raise StoreUnavailable("gone")
        return acquire(claim)

    room.store.acquire = second
    with pytest.raises(StoreUnavailable, match="gone"):
        several.acquire(asking())
    assert holders(room) == [None] * 3


def test_what_cannot_be_given_back_does_not_hide_the_answer(room, several, caplog):
    """It ends with its ttl, and a log line says so."""
    room.take("b", owner="ben")
    room.store.fail("release")
    assert several.acquire(asking()).key == "b"
    assert "ends by itself" in caplog.text


def test_all_are_given_back(room, several, joint):
    """In one call for whoever holds them."""
    assert several.release(joint.claim)
    assert holders(room) == [None] * 3
    assert not several.release(joint.claim)


def test_one_that_was_lost_does_not_keep_the_others_taken(room, several, joint):
    """The release says that not all were ours, and the thief keeps what it has."""
    room.steal("b")
    assert not several.release(joint.claim)
    assert holders(room) == [None, "thief", None]


def test_one_that_is_not_answered_for_does_not_keep_the_others_taken(room, several, joint):
    """The outage is told when all were asked for, and a second release finishes the first."""
    room.store.fail("release")
    with pytest.raises(StoreUnavailable):
        several.release(joint.claim)
    assert holders(room) == [None, None, "anna"]
    assert several.release(joint.claim)
    assert holders(room) == [None] * 3


def test_a_release_that_was_interrupted_is_finished_by_the_next(room, several, joint):
    """A store that knows no more of what it was given back is not asked again: the lease was ours until then."""
    room.store.fail("release", KeyboardInterrupt(), done=True)
    release, asked = room.store.release, []
    room.store.release = lambda claim: asked.append(claim.key) or release(claim)
    room.store._errors["release"].insert(0, (None, False))
    with pytest.raises(KeyboardInterrupt):
        several.release(joint.claim)
    assert asked == ["c", "b"]
    room.store.memory.acquire(room.claim("b", owner="anna"))
    assert several.release(joint.claim)
    assert asked == ["c", "b", "b", "a"]
    assert holders(room) == [None] * 3


def test_a_dead_owner_gives_back_what_it_had(room, several):
    """It may have died between two of its keys."""
    room.take("a", owner="anna")
    assert several.disown(asking())
    assert holders(room) == [None] * 3
    assert not several.disown(asking())


def test_many_are_renewed_in_one_call(room, several, joint):
    """Leases of one key and of several, each with its verdict."""
    single, other = room.store.acquire(room.claim("d")), several.acquire(Claim("e", "ben", 30.0, others=("f",)))
    room.steal("f")
    assert several.renew([joint, single, other]) == [Verdict.RENEWED, Verdict.RENEWED, Verdict.LOST]
    [leases] = room.store.called("renew")
    assert [lease.key for lease in leases] == ["a", "b", "c", "d", "e", "f"]


def test_a_key_that_may_be_lost_puts_the_lease_in_doubt(room, several, joint):
    """One that is lost ends it, whatever is known of the others."""
    room.store.renew = lambda _: [Verdict.UNKNOWN, Verdict.RENEWED, Verdict.RENEWED]
    assert several.renew([joint]) == [Verdict.UNKNOWN]
    room.store.renew = lambda _: [Verdict.UNKNOWN, Verdict.LOST, Verdict.RENEWED]
    assert several.renew([joint]) == [Verdict.LOST]


def test_it_lasts_as_long_as_the_key_that_was_taken_first(room, several):
    """Its time counts from before the first request left."""
    room.store.delay("acquire", 4.0)
    lease = several.acquire(asking(ttl=10.0))
    assert lease.remaining == 6.0


def test_its_fences_are_those_of_its_keys(joint):
    """Where each key counts for itself, and one number for all would say what is not so."""
    assert joint.fences == {key: joint.fence_of(key) for key in KEYS}
    assert len(set(joint.fences.values())) == 3
    with pytest.raises(LockError, match=r"no fence for all its keys.*lease.fences\['a'\]"):
        _ = joint.fence
    with pytest.raises(LockNotOwned, match="none of 'd'"):
        joint.fence_of("d")


def test_it_may_be_asked_for_longer_than_it_is_believed_in(room, several, joint):
    """As for a key that is to stay taken for a while: each of its keys is kept for so long."""
    assert stays(several, joint, 60.0)
    assert [room.store.inspect(key).remaining for key in KEYS] == [60.0] * 3
    assert joint.fences == {key: joint.fence_of(key) for key in KEYS}


def test_of_a_store_that_counts_as_one_the_last_is_for_all(room, several):
    """It was given while all of them were held."""
    room.store.counts_as_one = True
    lease = several.acquire(asking())
    assert lease.fence == room.store.memory.inspect("c").fence
    assert lease.fences == dict.fromkeys(KEYS, lease.fence)


def test_a_part_fares_as_the_whole(room, joint):
    """The lease of one of its keys is held, renewed and lost with it."""
    part = joint.of("b")
    assert (part.keys, part.fence, part.held()) == (("b",), joint.fence_of("b"), True)
    room.clock.advance(29.0)
    joint.extend(room.clock.now + 30.0)
    room.clock.advance(29.0)
    assert part.held()
    joint.lose("it was stolen")
    assert not part.held()
    assert "it was stolen" in str(part.loss())


def test_a_lease_of_one_key_is_its_own_part(room):
    """Nothing is made for it."""
    lease = room.store.acquire(room.claim())
    assert lease.of("wallet:42") is lease
    assert lease.fences == {"wallet:42": lease.fence}
    with pytest.raises(LockNotOwned):
        lease.of("wallet:43")


# the guard, and plain locks


def test_a_lock_takes_all_or_none(room):
    """`locked` says whether one of them is taken, `owned` whether all of them are ours."""
    lock = room.locks.lock(["b", "a", "b"], ttl=10.0)
    assert (lock.keys, lock.key, lock.locked(), repr(lock)) == (("a", "b"), "a", False, "<Lock ['a', 'b']: not held>")
    with lock as lease:
        assert isinstance(lease, JointLease)
        assert (lock.owned(), room.locks.locked("b"), room.locks.locked(["x", "b"])) == (True, True, True)
        assert room.locks.holder(["x", "b"]).key == "b"
        room.steal("b")
        assert not lock.owned()
        room.store.memory.force_release("b")
        room.store.memory.acquire(room.claim("b", owner=lease.owner))
    assert holders(room) == [None] * 3


def test_the_error_names_the_key_that_is_taken(room):
    """And its holder, of all the keys that were asked for."""
    room.take("b", owner="ben")
    with pytest.raises(LockTimeout, match="'b' is held by ben") as caught:
        room.locks.run(["c", "b"], lambda: None)
    assert (caught.value.key, caught.value.holder) == ("b", "ben")


def test_a_contention_is_said_of_the_key_that_is_taken(room):
    """With all the keys of the lock."""
    room.take("b", owner="ben")
    with heard(signals.contended, signals.acquired, signals.released) as events:
        room.locks.run(["a", "b"], lambda: None, busy=None)
        room.locks.run(["a", "c"], lambda: None)
    assert [(event.key, event.keys) for event in events] == [("b", ("a", "b")), ("a", ("a", "c")), ("a", ("a", "c"))]


def test_whoever_waits_holds_nothing(room):
    """Between two looks the free one of the keys is anybody's."""
    holder = room.take("b", owner="ben", ttl=10_000.0)
    seen = []
    for when in (1.0, 2.0, 3.0):
        room.clock.later(when, lambda: seen.append(room.holder("a")))
    room.clock.later(4.0, lambda: room.free(holder))
    with room.locks.lock(["a", "b"], ttl=100.0) as lease:
        assert lease.held()
    assert seen == [None] * 3


def test_an_interrupt_in_the_middle_leaves_nothing(room):
    """It strikes after the second key was taken, before that is known."""
    acquire = room.store.acquire

    def struck(claim):
        outcome = acquire(claim)
        if claim.key == "b":
            raise KeyboardInterrupt
        return outcome

    room.store.acquire = struck
    with pytest.raises(KeyboardInterrupt):
        room.locks.lock(["a", "b", "c"]).acquire()
    assert holders(room) == [None] * 3


def test_a_loss_of_one_is_the_loss_of_the_lease(room):
    """The keeper finds it at the next beat, and the release frees what is left."""

    def beaten() -> None:
        with room.locks.lock(["a", "b"], ttl=30.0, heartbeat=True):
            room.steal("b")
            pass_time(room, 10.0)

    with heard(signals.lost) as events, pytest.raises(LockError, match=r"the lease of \['a', 'b'\] is gone"):
        beaten()
    assert [(event.key, event.keys) for event in events] == [("a", ("a", "b"))]
    assert holders(room) == [None, "thief", None]


def test_a_beat_renews_all_of_them(room):
    """For a full ttl from before the request left."""
    with room.locks.lock(["a", "b"], ttl=30.0, heartbeat=True) as lease:
        room.clock.advance(10.0)
        room.keeper.tick()
        assert lease.remaining == 30.0
        assert [room.store.memory.inspect(key).remaining for key in ("a", "b")] == [30.0, 30.0]


def test_a_lock_on_several_is_taken_up_elsewhere(room):
    """By its owner's name, if all of them are its own."""
    lock = room.locks.lock(["a", "b"])
    assert lock.acquire()
    found = room.locks.restore(["b", "a"], lock.owner)
    assert found.owned()
    assert found.lease.fences == lock.lease.fences
    room.steal("b")
    with pytest.raises(LockNotOwned, match=r"\['a', 'b'\] cannot be taken up: thief has 'b'"):
        room.locks.restore(["a", "b"], lock.owner)
