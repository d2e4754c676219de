"""Jobs that could not start, for their worker has no slot, are out of line."""

from __future__ import annotations

from functools import partial

import pytest
from celery.worker import state

from celery_locks.worker.aside import LOOK, SOON
from tests.unit.floor import FIRST, SECOND, THIRD, Floor, dated

pytestmark = pytest.mark.usefixtures("no_other_work")


OTHER = "wallet:43"


def test_one_that_gets_no_slot_stands_aside_with_all_of_its_key(three):
    """At once, and itself the last: its turn goes to another worker's. Those of other keys wait on."""
    three.come(dated(9, "dan"), OTHER)
    three.call(FIRST)
    assert three.aside._due() == three.hall.clock() + SOON
    three.later(SOON - 0.01)
    assert three.left() == []
    three.later(0.01)
    assert three.left() == [SECOND, THIRD, FIRST]
    assert three.waits() == [dated(9, "dan")]
    assert three.aside._due() == three.hall.clock() + LOOK
    three.later(10)
    assert three.left() == []


def test_one_that_has_its_slot_soon_stays(three):
    """The job before it had just ended."""
    three.call(FIRST)
    three.begins(FIRST)
    three.later(SOON)
    assert three.left() == []
    assert three.waits() == [SECOND, THIRD]
    assert three.aside._due() is None


def test_one_that_is_merely_slow_stays(floor):
    """There is a slot for it: a loaded machine takes its time."""
    floor.come(FIRST)
    floor.call(FIRST)
    floor.later(SOON)
    assert floor.left() == []
    assert floor.aside._due() == floor.hall.clock() + LOOK
    busy = floor.busy()
    floor.later(LOOK)
    assert floor.left() == [FIRST]
    assert busy


@pytest.mark.parametrize(("slots", "leaves"), [(1, True), (2, False)])
def test_a_pool_may_have_grown(slots, leaves):
    """What counts is how many processes it has now."""
    floor = Floor(slots=slots)
    floor.come(FIRST)
    busy = floor.busy()
    floor.call(FIRST)
    floor.later(SOON)
    assert bool(floor.left()) is leaves
    assert busy


def test_a_pool_that_counts_the_slots_in_use_has_more(floor):
    """None in use does not mean that it has none."""
    floor.consumer.pool.num_processes = 0
    floor.come(FIRST)
    floor.call(FIRST)
    floor.later(SOON)
    assert floor.left() == []


def test_one_in_line_whose_time_is_over_may_find_no_slot(three):
    """It leaves the line as one that was called."""
    three.aside.begin(three.places[SECOND])
    state.reserved_requests.add(three.requests[SECOND])
    three.later(SOON)
    assert three.left() == [FIRST, THIRD, SECOND]


def test_a_call_that_comes_too_late_is_not_heard(three):
    """The turn has gone to the next."""
    call = three.hall.waker._roll.find(SECOND).call
    three.call(FIRST)
    three.later(SOON)
    call(SECOND)
    assert three.started == [FIRST]
    assert three.aside.has(three.places[SECOND])


def test_a_store_that_cannot_be_reached_costs_a_window(three, caplog):
    """The turn passes unclaimed, and those aside come back as always."""
    three.call(FIRST)
    three.lines.down = True
    three.later(SOON)
    assert "may still be called" in caplog.text
    assert three.waits() == []


def test_after_the_end_nobody_is_called(three):
    """Nor put in line."""
    calls = [partial(three.hall.waker._roll.find(ticket).call, ticket) for ticket in (FIRST, THIRD)]
    three.call(SECOND)
    three.later(SOON)
    three.aside.close()
    for call in calls:
        call()
    three.ends(SECOND)
    three.looks()
    assert three.waits() == []
    assert three.started == [SECOND]
