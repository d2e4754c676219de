"""What becomes of a key that may be handed over to a job that met an outage while it waited in its slot."""

from __future__ import annotations

import threading

import pytest

from celery_locks import gone_heirs
from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Claim
from celery_locks.ticket import Stance, Ticket
from tests.waiting import wait_until

HEIR = Claim("wallet:42", "ann", 30.0, "shop.sync", "an-id", Ticket("ann", Stance.WAITS_IF_NEXT, "0a1b", echo=3))


class Here:
    """The store, which is away so many times, and the board of the process."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.asked: list[Claim] = []
        self.has_left = threading.Event()

    def release(self, claim: Claim) -> bool:
        self.asked.append(claim)
        if len(self.asked) <= self.away:
            raise StoreUnavailable("away")
        return True

    def left(self, _: Claim) -> None:
        self.has_left.set()


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Nobody waits here."""
    monkeypatch.setattr(gone_heirs, "LATELY", 0.0)
    monkeypatch.setattr(gone_heirs, "AGAIN", 0.0)


@pytest.mark.parametrize("away", [0, 2])
def test_what_it_may_be_given_is_given_back(away: int):
    """Until the store says what became of it. Its place in line is left alone: another has its ticket."""
    here = Here(away)
    gone_heirs.gone(HEIR, Busy(ticket="a"), here, here)
    wait_until(here.has_left.is_set, "it to be over")
    assert here.asked == [HEIR._replace(ticket=None)] * (away + 1)


def test_a_store_that_stays_away_for_a_ttl(monkeypatch):
    """Whatever it had is over by then."""
    here = Here(10**9)
    monkeypatch.setattr(gone_heirs, "AGAIN", 0.01)
    gone_heirs.gone(HEIR._replace(ttl=0.05), Busy(ticket="a"), here, here)
    wait_until(here.has_left.is_set, "it to be over")


@pytest.mark.parametrize(
    ("claim", "outcome"),
    [(HEIR, None), (HEIR._replace(ticket=None), Busy()), (HEIR._replace(ticket=HEIR.ticket._replace(echo=0)), Busy())],
    ids=["never waited", "no ticket", "no heir"],
)
def test_to_others_nothing_is_handed_over(claim: Claim, outcome: Busy | None):
    """They leave the board at once: in a long outage a process sees to one at most."""
    here = Here()
    gone_heirs.gone(claim, outcome, here, here)
    assert here.has_left.is_set()
    assert here.asked == []


def test_a_process_without_a_thread_to_spare(monkeypatch):
    """It leaves the board, and the ttl ends it."""
    here = Here()
    monkeypatch.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("can't start")))
    gone_heirs.gone(HEIR, Busy(ticket="a"), here, here)
    assert here.has_left.is_set()
