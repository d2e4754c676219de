"""A member of a group that is tried again later keeps the key of its workflow, whatever its siblings do meanwhile."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from celery import chord, group

from celery_locks import StoreUnavailable, baton
from celery_locks.canvas import awaiting
from tests.unit.relay import KEY, Relay

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTDOWN, TTL, TRAVEL = 1000, 30, 50


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float | None]:
    """What the thread does that sees to them, when a test says so."""
    monkeypatch.setattr(awaiting, "_awaited", {})
    monkeypatch.setattr(awaiting, "_thread", threading.current_thread())
    return awaiting.look


@pytest.fixture
def body(relay: Relay, looks: Callable[[], float | None]) -> object:  # noqa: ARG001 - only the test is to look
    """The end of a group of which one was tried, and is to be tried again, and the other has run."""

    def retry(task):
        if not task.request.retries:
            raise task.retry(countdown=COUNTDOWN)
        return "a"

    relay.bodies["a"] = retry
    canvas = chord(group(relay.job("a"), relay.job("b")), relay.job("c"))
    marked = baton(canvas, KEY, ttl=TTL, travel=TRAVEL)._marked({})
    first, second = marked.tasks
    first.apply_async()
    relay.run()
    assert relay.left() == pytest.approx(COUNTDOWN + TRAVEL, abs=5)
    relay.again = relay.message()
    second.apply_async()
    relay.run()
    assert relay.left() == TRAVEL
    return marked.body


def test_it_lasts_until_the_message_is_due_and_may_be_there(relay: Relay, looks, body):
    """Each look undoes what the siblings did. When its time has come it lasts for as long as a message may travel."""
    nap = looks()
    assert relay.left() == pytest.approx(COUNTDOWN + TRAVEL, abs=5)
    assert 0 < nap <= TTL / 2
    relay.room.clock.advance(COUNTDOWN - 100)
    assert 0 < looks() <= TTL / 2
    assert relay.left() == pytest.approx(100 + TRAVEL, abs=5)
    relay.room.clock.advance(100)
    assert looks() is None
    assert relay.left() == TRAVEL
    relay.run(relay.again)
    body.apply_async()
    relay.run()
    assert relay.names == ["a", "b", "a", "c"]
    assert len(set(relay.fences)) == 1
    assert relay.holder() is None


@pytest.mark.usefixtures("body")
def test_one_that_was_lost_is_seen_to_no_more(relay: Relay, looks):
    """Whoever has the key then keeps it for as long as that one says."""
    relay.room.store.force_release(KEY)
    with relay.room.locks.lock(KEY, ttl=7) as lease:
        assert looks() is None
        assert relay.room.holder(KEY) == lease.owner
        assert relay.left() == 7


@pytest.mark.usefixtures("body")
def test_a_store_that_does_not_answer_is_asked_again(relay: Relay, looks):
    """An outage of a moment costs nothing; one that lasts until it is due ends it."""
    relay.room.store.fail("renew", StoreUnavailable("down"))
    assert looks() is not None
    assert relay.left() == TRAVEL
    looks()
    assert relay.left() == pytest.approx(COUNTDOWN + TRAVEL, abs=5)
    relay.room.clock.advance(COUNTDOWN)
    relay.room.store.fail("renew", StoreUnavailable("down"))
    assert looks() is None


@pytest.mark.usefixtures("body")
def test_whatever_a_client_raises_ends_no_thread(relay: Relay, looks, caplog):
    """It is asked again, and the log has it: nobody else would renew what is awaited in this process."""
    relay.room.store.fail("renew", RuntimeError("a defect"))
    assert looks() is not None
    assert "a defect" in caplog.text
    looks()
    assert relay.left() == pytest.approx(COUNTDOWN + TRAVEL, abs=5)
