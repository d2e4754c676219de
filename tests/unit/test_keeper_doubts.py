"""The keeper while the store does not answer: not knowing is not losing."""

from __future__ import annotations

import logging

import pytest

from celery_locks import StoreUnavailable, signals
from celery_locks.lease import State, Verdict
from tests.unit.fakes import Room, heard, pass_time


def test_a_beat_without_answer_is_no_loss(room: Room, hold):
    """Unknown is not lost: nobody is told, and the lease is held."""
    told = []
    lease = hold(on_lost=told.append)
    room.store.fail("renew")
    room.clock.advance(10.0)
    room.keeper.tick()
    assert lease.state is State.UNKNOWN
    assert lease.held()
    assert told == []


def test_a_beat_without_answer_is_tried_again_soon(room: Room, hold):
    """Not after a whole interval: a quarter of it later."""
    lease = hold()
    room.store.fail("renew")
    room.clock.advance(10.0)
    room.keeper.tick()
    room.clock.advance(2.5)
    room.keeper.tick()
    assert len(room.store.called("renew")) == 2
    assert lease.state is State.HELD


def test_an_outage_shorter_than_the_ttl_loses_nothing(room: Room, hold):
    """The store is away for most of the lease, and comes back."""
    lease = hold()
    pass_time(room, 10.0)
    room.store.fail("renew", times=7)
    pass_time(room, 28.0)
    assert lease.held()
    pass_time(room, 60.0)
    assert lease.state is State.HELD


def test_an_outage_as_long_as_the_ttl_is_a_loss(room: Room, hold):
    """When the lease's time is over without an answer, its job is told at once and not before."""
    told = []
    lease = hold(on_lost=lambda lease: told.append((lease, room.clock.now)))
    room.store.fail("renew", times=1000)
    deadline = lease.deadline
    pass_time(room, 60.0)
    assert told == [(lease, deadline)]
    assert lease.reason == "its ttl ran out before it could be renewed"


def test_the_last_try_is_before_the_lease_ends(room: Room, hold):
    """A store that answers again in the last part of the lease saves it."""
    lease = hold()
    room.store.fail("renew", times=1000)
    pass_time(room, 27.0)
    room.store._errors.clear()
    pass_time(room, 2.5)
    assert lease.state is State.HELD


def test_a_keeper_that_wakes_too_late_reports_a_loss(room: Room, hold):
    """After a stop longer than the ttl the lease is not renewed behind another holder's back."""
    told = []
    lease = hold(on_lost=told.append)
    room.clock.advance(31.0)
    room.keeper.tick()
    assert told == [lease]
    assert room.store.called("renew") == []


def test_a_late_answer_does_not_save_a_lost_lease(room: Room, hold):
    """A renewal that arrives after the loss was reported changes nothing."""
    lease = hold()
    room.clock.advance(31.0)
    room.keeper.tick()
    lease.extend(room.clock.now + 30.0)
    assert not lease.held()


def test_an_outage_is_said_for_every_lease(room: Room, hold):
    """Each with its key, during renew."""
    hold("a")
    hold("b")
    room.store.fail("renew")
    with heard(signals.outage) as said:
        pass_time(room, 10.0)
    assert [(event.key, event.during) for event in said] == [("a", "renew"), ("b", "renew")]


@pytest.fixture
def unsure(room: Room):
    """Make the store unable to say anything of some keys; give the set of them."""
    keys, renew = set(), room.store.memory.renew

    def said(leases):
        verdicts = zip(leases, renew(leases), strict=True)
        return [Verdict.UNKNOWN if lease.key in keys else verdict for lease, verdict in verdicts]

    room.store.memory.renew = said
    return keys


def test_a_store_may_be_unsure_of_some(room: Room, hold, unsure):
    """A lease it cannot tell of is in doubt and tried again soon; those renewed in the same call are held."""
    doubted, kept = hold("a"), hold("b")
    unsure.add("a")
    room.clock.advance(10.0)
    with heard(signals.outage) as said:
        room.keeper.tick()
    assert (doubted.state, kept.state) == (State.UNKNOWN, State.HELD)
    assert [(event.key, event.during) for event in said] == [("a", "renew")]
    unsure.clear()
    room.clock.advance(2.5)
    room.keeper.tick()
    assert room.store.called("renew") == [[doubted, kept], [doubted]]
    assert doubted.state is State.HELD


def test_a_store_that_stays_unsure_of_one_loses_that_one(room: Room, hold, unsure):
    """When its time is over, and no other."""
    lost, kept = hold("a"), hold("b")
    unsure.add("a")
    pass_time(room, 100.0)
    assert lost.reason == "its ttl ran out before it could be renewed"
    assert kept.state is State.HELD


def test_leases_in_doubt_are_renewed_after_the_others(room: Room, hold, unsure):
    """Whoever is slow to say nothing of one lease does not keep the others waiting."""
    first, second = hold("a"), hold("b")
    unsure.add("a")
    room.clock.advance(10.0)
    room.keeper.tick()
    room.clock.advance(10.0)
    room.keeper.tick()
    assert room.store.called("renew") == [[first, second], [second], [first]]


def test_a_renewal_by_hand_of_which_nothing_is_known_is_an_outage(room: Room, hold, unsure):
    """It neither succeeded nor failed, and the lease has its own ttl again."""
    lease = hold("a")
    unsure.add("a")
    with pytest.raises(StoreUnavailable, match="did not answer"):
        room.keeper.renew(lease, 60.0)
    assert (lease.state, lease.ttl) == (State.UNKNOWN, 30.0)
    unsure.clear()
    assert room.keeper.renew(lease, 60.0)
    assert lease.state is State.HELD


def test_a_renewal_by_hand_of_a_lease_in_doubt_may_find_it_lost(room: Room, hold, unsure):
    """Then the store has said so, and it is in doubt no more."""
    lease = hold("a")
    unsure.add("a")
    room.clock.advance(10.0)
    room.keeper.tick()
    unsure.clear()
    room.steal("a")
    assert not room.keeper.renew(lease, 60.0)


@pytest.mark.parametrize("error", [StoreUnavailable("down"), RuntimeError("a bug"), OSError(5, "io")], ids=repr)
def test_an_error_in_a_beat_does_not_end_the_beating(room: Room, hold, error):
    """Whatever the store raises, the next beat comes."""
    lease = hold()
    room.store.fail("renew", error)
    pass_time(room, 60.0)
    assert lease.state is State.HELD


def test_a_store_with_too_few_answers_does_not_end_the_beating(room: Room, hold):
    """A store that breaks its contract is an error like others."""
    lease = hold()
    renew, answers = room.store.memory.renew, iter([[]])
    room.store.memory.renew = lambda leases: next(answers, None) or renew(leases)
    room.clock.advance(10.0)
    room.keeper.tick()
    assert lease.state is not State.LOST


def test_an_unexpected_error_is_logged_with_its_trace(room: Room, hold, caplog):
    """An outage is one line; a bug shows where it is."""
    hold()
    room.store.fail("renew", StoreUnavailable("down"))
    room.store.fail("renew", RuntimeError("a bug"))
    with caplog.at_level(logging.WARNING, "celery_locks.keeper"):
        pass_time(room, 20.0)
    outage, bug = [record for record in caplog.records if record.name == "celery_locks.keeper"]
    assert not outage.exc_info
    assert bug.exc_info[0] is RuntimeError
