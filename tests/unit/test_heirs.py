"""Who says with its claim that the key itself may be handed over to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from celery_locks.interrupt import kill
from celery_locks.lease import Claim, Lease
from celery_locks.ticket import Stance, Ticket

if TYPE_CHECKING:
    from tests.unit.fakes import Room

HEIR = Claim("wallet:42", "ann", 30.0, "shop.sync", "an-id", Ticket("ann", Stance.WAITS_IF_NEXT, "0a1b"))


def echo(room: Room, claim: Claim = HEIR, **how: object) -> int:
    """The number of the claim as it comes to the store."""
    assert isinstance(room.guard.enter(claim, **{"beat": 10.0, "wait": 1.0, **how}), Lease)  # type: ignore[arg-type]
    [asked] = room.store.called("acquire")
    assert isinstance(asked, Claim)
    return asked.ticket.echo if asked.ticket else 0


@pytest.mark.usefixtures("region")
@pytest.mark.parametrize("on_lost", [None, kill], ids=["raise", "kill"])
def test_what_the_parent_keeps_may_be_handed_over(room: Room, on_lost):
    """A job that waits in a slot of a pool process: if that dies, its parent gives back what it never knew of."""
    assert echo(room, on_lost=on_lost)


@pytest.mark.usefixtures("region")
@pytest.mark.parametrize("stance", [Stance.WAITS, Stance.GOES])
def test_only_to_one_that_goes_back_to_its_queue(room: Room, stance: Stance):
    """Plain code that gives up has left the line when its key is handed over: nobody would give it back."""
    assert echo(room, HEIR._replace(ticket=Ticket("ann", stance, "0a1b"))) == 0


@pytest.mark.usefixtures("region")
@pytest.mark.parametrize(
    "more", [{"others": ("b",)}, {"shared": True}, {"slots": 2}, {"at_least": 3.0}], ids=lambda more: next(iter(more))
)
def test_only_one_key_alone_is_handed_over(room: Room, more: dict):
    """What else is asked for is seen to when the claim is made."""
    asked = room.guard.care.claims(HEIR._replace(**more), 10.0)
    assert asked.ticket
    assert asked.ticket.echo == 0


@pytest.mark.usefixtures("region")
def test_what_is_not_renewed_is_not_handed_over(room: Room):
    """It would last for less than its ttl: its time counts from when it was asked for."""
    assert echo(room, beat=None) == 0


@pytest.mark.usefixtures("region")
def test_what_does_not_fit_on_the_board_is_not_handed_over(room: Room):
    """Its parent does not know of it."""
    assert echo(room, HEIR._replace(key="x" * 2000)) == 0


def test_without_a_parent_nothing_is_handed_over(room: Room):
    """Nobody would give it back before its ttl is over if the process died."""
    assert echo(room) == 0


@pytest.mark.usefixtures("region")
def test_no_two_claims_have_one_number(room: Room):
    """A job that comes back with its ticket does not believe what was said to it before."""
    tickets = [room.guard.care.claims(HEIR._replace(owner=owner), 10.0).ticket for owner in ("ann", "ben")]
    assert len({ticket.echo for ticket in tickets if ticket}) == 2
