"""Leases that live in a session: what is said of one that ended with it."""

from __future__ import annotations

import logging

import pytest

from celery_locks import LockLost, events, signals
from celery_locks.lease import Claim, State
from celery_locks.stores.living import SessionLease
from tests.unit.fakes import Room, heard


class OfSession(SessionLease):
    """A lease in a session that ends when the test says so."""

    over = "the session it lived in is over"
    session_lasts = True

    def lives(self) -> bool:
        return self.session_lasts


@pytest.fixture
def lease(clock) -> OfSession:
    return OfSession(Claim("wallet:42", "me", 30.0), 7, None, clock)


def test_a_lease_lost_with_its_session_is_said_to_be(room: Room, lease, caplog):
    """The log line and the signal name the session: there was no ttl that could run out."""
    room.keeper.watch(lease, 10.0)
    lease.session_lasts = False
    with caplog.at_level(logging.WARNING), heard(signals.lost) as said:
        room.keeper.tick()
    assert caplog.messages == ["lost the lease of 'wallet:42', held by me: the session it lived in is over"]
    assert said == [events.Lost("wallet:42", "me", 7, "the session it lived in is over")]


def test_a_lease_taken_away_while_its_session_lasts_is_said_to_be(lease):
    """Its session is not blamed."""
    lease.lose("the store says that it was taken away")
    assert lease.reason == "the store says that it was taken away"


def test_a_lease_whose_session_is_over_is_not_held(lease):
    """Also before anybody noted it; and what is raised names the session, and advises no longer ttl."""
    lease.session_lasts = False
    assert not lease.held()
    with pytest.raises(LockLost, match="the session it lived in is over") as caught:
        lease.ensure_held()
    assert caught.value.message.endswith("and consider the lease's fence")


def test_a_released_lease_is_not_said_to_have_ended_with_its_session(lease):
    """Also when the session is over by now."""
    lease.state, lease.session_lasts = State.RELEASED, False
    with pytest.raises(LockLost, match="it was released"):
        lease.ensure_held()
