"""How long the key of a workflow waits for a message of which another one was sent with a time to expire."""

from __future__ import annotations

import pytest
from celery import chain, chord, group
from celery.exceptions import Reject

from celery_locks import baton
from tests.unit.relay import KEY, Relay

A, B, C = "abc"
TRAVEL = 50
#: Until then the first is to have begun.
SOON = 3


def sent(relay: Relay) -> None:
    baton(chain(relay.job(A), relay.job(B)), KEY, ttl=30, travel=TRAVEL).apply_async(
        expires=SOON, link_error=relay.job("undo")
    )


@pytest.mark.parametrize(
    "body",
    [
        lambda _: A,
        lambda _: 1 / 0,
        lambda task: task.replace(chain(relay_of(task).job("x"), relay_of(task).job("y"))),
    ],
    ids=["the next", "an errback", "a replacement"],
)
def test_another_message_has_its_whole_time(relay: Relay, body):
    """What was not to begin late has begun: what comes after it may be on its way for as long as any."""
    relay.app.relay = relay
    relay.bodies[A] = body
    sent(relay)
    relay.run()
    assert relay.is_on_its_way()
    assert relay.left() == TRAVEL
    relay.run_all()
    assert len(set(relay.fences)) == 1


def relay_of(task) -> Relay:
    return task.app.relay


def test_a_message_that_comes_again_expires_as_it_did(relay: Relay):
    """Its key waits for a retry, and for one that was rejected, no longer than that may begin."""
    relay.bodies[A] = lambda task: task.retry(countdown=0)
    sent(relay)
    relay.run()
    assert relay.is_on_its_way()
    assert 0 < relay.left() <= SOON


def test_a_rejected_one_expires_as_it_did(relay: Relay):
    """It is the same message."""

    def rejects(_):
        raise Reject("no", requeue=True)

    relay.step.acks_late = True
    relay.bodies[A] = rejects
    sent(relay)
    relay.run()
    assert relay.is_on_its_way()
    assert 0 < relay.left() <= SOON


@pytest.mark.parametrize("tried_again", [False, True])
def test_what_comes_behind_a_group_has_its_whole_time(relay: Relay, tried_again: bool):  # noqa: FBT001 - a parameter
    """Whichever of its tasks was the last to end, or is to come again."""
    if tried_again:
        relay.bodies[B] = lambda task: task.retry(countdown=0)
    canvas = chord(group(relay.job(A), relay.job(B)), relay.job(C))
    first, second = baton(canvas, KEY, ttl=30, travel=TRAVEL)._marked({}).tasks
    for each in (first, second):
        each.apply_async(expires=SOON)
        relay.run()
    assert relay.is_on_its_way()
    assert relay.left() == TRAVEL
