"""Jobs that stand aside come back to their places in line, all or one at a time, when their worker has a slot."""

from __future__ import annotations

import pytest
from celery.worker import state

from celery_locks.lease import Busy
from celery_locks.stores.base import Look, Waiting
from celery_locks.worker import aside
from celery_locks.worker.aside import LOOK, SOON
from tests.unit.floor import FIRST, SECOND, THIRD, dated
from tests.unit.hall import KEY

pytestmark = pytest.mark.usefixtures("no_other_work")


def test_those_aside_come_back_when_there_is_a_slot(floor):
    """With their dates, and in that order, whatever the order in which they came here."""
    for ticket in (THIRD, FIRST, SECOND):
        floor.come(ticket)
    busy = floor.busy()
    floor.call(FIRST)
    floor.later(SOON)
    assert floor.waits() == []
    state.reserved_requests.discard(busy)
    floor.ends(FIRST)
    floor.hall.attend()
    floor.lines.attended.clear()
    floor.looks()
    floor.hall.attend()
    assert floor.lines.attended == [[Waiting(KEY, SECOND), Waiting(KEY, THIRD)]]
    assert floor.aside._due() is None
    floor.call(SECOND)
    assert floor.started == [FIRST, SECOND]


def test_they_come_back_one_at_a_time_where_slots_are_rare(three):
    """The next when the one before has had a slot: nobody waits for ever, and no line is long for nothing."""
    three.call(FIRST)
    three.later(SOON)
    three.later(LOOK)
    assert three.waits() == []
    three.ends(FIRST)
    three.looks()
    three.later(LOOK)
    assert three.waits() == [SECOND]
    three.left()
    three.call(SECOND)
    three.later(LOOK)
    assert three.waits() == []
    three.later(SOON)
    assert three.left() == [SECOND]
    three.ends(SECOND)
    three.looks()
    assert three.waits() == [THIRD]
    assert not three.aside._aside


def test_the_next_comes_back_when_one_had_its_slot_soon(three):
    """It was called while a slot happened to be free."""
    three.call(FIRST)
    three.later(SOON)
    three.ends(FIRST)
    three.looks()
    three.call(SECOND)
    three.begins(SECOND)
    three.later(SOON)
    assert three.waits() == [THIRD]


def test_one_that_has_just_begun_asks_first(three):
    """If the next came back before that, the key might be kept for it, and the one in the slot go back to its queue."""
    three.call(FIRST)
    three.later(SOON)
    three.consumer.pool.num_processes = 9
    three.begins(FIRST)
    three.later(LOOK)
    assert three.waits() == []
    three.later(LOOK)
    assert three.waits() == [SECOND, THIRD]


def test_one_that_comes_meanwhile_stands_aside_too(three):
    """It would be called in vain."""
    three.call(FIRST)
    three.later(SOON)
    three.come("dan")
    assert three.waits() == []
    three.ends(FIRST)
    three.consumer.pool.num_processes = 2
    three.looks()
    assert three.waits() == [SECOND, THIRD, "dan"]


def test_the_only_one_of_its_key_leaves_nothing_behind(floor):
    """One that comes while it waits for its slot stands aside; then all is as it was."""
    busy = floor.busy()
    floor.come(FIRST)
    floor.call(FIRST)
    floor.later(SOON)
    floor.later(LOOK)
    floor.come(SECOND)
    assert floor.waits() == []
    floor.ends(FIRST)
    floor.looks()
    assert floor.waits() == [SECOND]
    assert not floor.aside._aside
    assert busy


def test_a_ticket_from_the_door_comes_back_with_the_date_it_got(floor):
    """It learns that when it joins, and is told once."""
    floor.come("ann", joins=True)
    floor.come("bob")
    dates = {name: Busy(None, 1.0, 1, ticket=dated(number, name)) for number, name in enumerate(("bob", "ann"))}
    floor.lines.looks = {Waiting(KEY, name): Look(30.0, turn=False, busy=busy) for name, busy in dates.items()}
    floor.lines.looks[Waiting(KEY, dated(1, "ann"))] = floor.lines.looks[Waiting(KEY, "ann")]
    floor.hall.attend()
    busy = floor.busy()
    floor.call("bob", dated(0, "bob"))
    floor.later(SOON)
    assert floor.left() == [dated(1, "ann"), dated(0, "bob")]
    state.reserved_requests.discard(busy)
    floor.ends("bob")
    floor.looks()
    assert floor.waits() == [dated(1, "ann")]
    floor.hall.attend()
    assert floor.told == [dates["ann"]]


def test_the_time_of_one_aside_may_be_over(three):
    """It goes to the pool by itself, and is not put in line again; until then it may be told to wait longer."""
    three.call(FIRST)
    three.later(SOON)
    assert three.aside.has(three.places[SECOND])
    three.aside.begin(three.places[SECOND])
    assert not three.aside.has(three.places[SECOND])
    three.left()
    three.ends(FIRST)
    three.looks()
    assert three.waits() == [THIRD]


def test_a_rate_limit_is_no_slot(floor):
    """One that waits for it stands aside however many slots there are, and the others come back one at a time."""
    floor.consumer.task_buckets["bank.withdraw"] = object()
    for ticket in (FIRST, SECOND, THIRD):
        floor.come(ticket)
    floor.call(FIRST)
    floor.later(SOON)
    assert floor.left() == [SECOND, THIRD, FIRST]
    floor.begins(FIRST)
    floor.looks()
    assert floor.waits() == [SECOND]


@pytest.mark.parametrize("is_called", [True, False])
def test_a_job_that_is_lost_on_its_way_keeps_nobody_aside(three, is_called):
    """It is not kept alive either."""
    if is_called:
        three.call(FIRST)
    else:
        three.aside.begin(three.places[FIRST])
        state.reserved_requests.add(three.requests[FIRST])
    three.later(SOON)
    gone = three.places[FIRST].request
    three.requests.pop(FIRST)
    assert gone() is None
    three.looks()
    assert three.waits() == [SECOND]


def test_of_many_so_many_come_back_at_each_look(floor, monkeypatch):
    """Should there be no slot after all, no more than these have to leave again."""
    monkeypatch.setattr(aside, "TOGETHER", 1)
    for ticket in (FIRST, SECOND, THIRD):
        floor.come(ticket)
    busy = floor.busy()
    floor.call(FIRST)
    floor.later(SOON)
    state.reserved_requests.discard(busy)
    floor.ends(FIRST)
    floor.looks()
    assert floor.waits() == [SECOND]
    floor.later(LOOK)
    assert floor.waits() == [SECOND, THIRD]
