"""Who waits in no line, at a store that keeps lines: it looks again, and its claims carry no ticket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery.exceptions import Retry
from kombu import Queue

from celery_locks import Fail, Skip, requeue
from celery_locks.lease import Busy, Lease
from celery_locks.ticket import Stance, Ticket
from tests.unit import bank
from tests.unit.fakes import refuse

if TYPE_CHECKING:
    from tests.unit.hall import Hall


def asked(hall: Hall) -> list[Ticket | None]:
    """What each claim had in its hand."""
    return [claim.ticket for claim in hall.store.called("acquire")]


def enters(hall: Hall, claim, **how):
    return hall.guard.enter(claim, **how)


def runs(hall: Hall, claim, **how):
    return hall.guard.run(claim, lambda lease: lease, refuse, **how)


@pytest.mark.parametrize("by", [enters, runs])
def test_who_is_not_to_wait_in_line_looks_again(hall, by):
    """It gets the key when it finds it free."""
    taken = hall.take()
    hall.clock.later(2.0, lambda: hall.free(taken))
    assert isinstance(by(hall, hall.claim(), wait=5.0, in_line=False), Lease)
    assert 2.0 <= sum(hall.clock.slept) < 2.5
    assert set(asked(hall)) == {None}
    assert hall.lines.attended == hall.lines.left == []


@pytest.mark.parametrize("by", [enters, runs])
def test_it_waits_no_longer_than_it_was_to(hall, by):
    """And leaves no line, for it was in none."""
    hall.take()
    assert isinstance(by(hall, hall.claim(), wait=5.0, in_line=False), Busy)
    assert sum(hall.clock.slept) == pytest.approx(5.0)
    assert hall.lines.left == []


@pytest.mark.parametrize("by", [enters, runs])
def test_who_waits_is_in_line_unless_it_says_otherwise(hall, by):
    """Its first claim has a ticket already: it joins where it finds the key taken."""
    assert by(hall, hall.claim(), wait=5.0)
    assert [ticket.stance for ticket in asked(hall)] == [Stance.WAITS]


@pytest.mark.parametrize("by", [enters, runs])
def test_who_does_not_wait_is_in_no_line(hall, by):
    """It would be called in vain."""
    hall.take()
    assert isinstance(by(hall, hall.claim()), Busy)
    assert asked(hall) == [None]


@pytest.mark.parametrize("in_line", [True, False])
def test_a_ticket_that_a_claim_has_is_its_own(hall, in_line):
    """A job's, which says what it does when its key is taken."""
    mine = Ticket("1700000000000000-ann", Stance.GOES)
    assert hall.guard.enter(hall.claim()._replace(ticket=mine), wait=5.0, in_line=in_line)
    assert asked(hall) == [mine]


@pytest.mark.parametrize(
    ("options", "conf", "lines_up"),
    [
        ({}, {}, True),
        ({"lock_wait": 5}, {}, True),
        ({"lock_fair": False}, {}, False),
        ({}, {"lock_fair": False}, False),
        ({}, {"task_queues": [Queue("jobs", queue_arguments={"x-queue-type": "quorum"})]}, False),
        ({}, {"task_queues": [Queue("jobs", queue_arguments={"x-queue-type": "classic"})]}, True),
    ],
)
def test_whose_jobs_line_up(hall, options, conf, lines_up):
    """All but those that are told not to, and those whose countdown ends in the broker, where nobody can be called."""
    task = bank.task(bank.withdraw, room=hall, conf=conf, lock_key="wallet:{user_id}", **options)
    assert task._get_current_object()._plan.lines_up is lines_up


def queued(task, monkeypatch):
    """How a job ends that a worker runs, and what is published of it."""
    made, published = task._get_current_object(), []
    monkeypatch.setattr(made, "apply_async", lambda *_, **options: published.append(options))
    made.push_request(id="7", args=[42], kwargs={}, called_directly=False, headers={})
    try:
        return made(42), published
    except Retry as ended:
        return ended, published
    finally:
        made.pop_request()


UNFAIR = {"lock_fair": False, "lock_wait": 5}


def test_an_unfair_job_that_waits_in_its_slot_looks_again(hall, monkeypatch):
    """lock_wait without a line: it takes over where it finds the key free, and stands in nobody's way."""
    taken = hall.take()
    hall.clock.later(2.0, lambda: hall.free(taken))
    ended, published = queued(bank.job(hall, **UNFAIR), monkeypatch)
    assert "bank.withdraw[7]" in ended
    assert published == []
    assert set(asked(hall)) == {None}


def test_an_unfair_job_that_waited_in_vain_goes_back_without_a_ticket(hall, monkeypatch):
    """It comes by its countdown alone."""
    hall.take()
    ended, [sent] = queued(bank.job(hall, **UNFAIR), monkeypatch)
    assert isinstance(ended, Retry)
    assert sum(hall.clock.slept) == pytest.approx(5.0)
    assert requeue.place(sent["headers"]) is None
    assert sent["headers"][requeue.REQUEUES] == 1
    assert set(asked(hall)) == {None}


@pytest.mark.parametrize("policy", ["skip", "fail", Skip(result="Processing"), Fail()], ids=str)
def test_one_that_never_goes_back_waits_in_its_slot_wherever_it_stands(hall, monkeypatch, policy):
    """Sent away because it is not the next, it would be skipped without having waited."""
    assert queued(bank.job(hall, lock_wait=5, lock_on_contention=policy), monkeypatch)
    assert [ticket.stance for ticket in asked(hall)] == [Stance.WAITS]


@pytest.mark.parametrize("policy", ["skip", "fail", Skip(result="Processing"), Fail()], ids=str)
def test_one_that_never_goes_back_and_does_not_wait_is_in_no_line(hall, monkeypatch, policy):
    """Nobody waits for it to come back."""
    assert queued(bank.job(hall, lock_on_contention=policy), monkeypatch)
    assert asked(hall) == [None]


def test_a_fair_job_that_waits_in_its_slot_has_a_ticket(hall, monkeypatch):
    """What the ones above would have: it waits there only if it is the next."""
    assert queued(bank.job(hall, lock_wait=5), monkeypatch)
    assert [ticket.stance for ticket in asked(hall)] == [Stance.WAITS_IF_NEXT]
    assert hall.lines.left == []
