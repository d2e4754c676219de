"""Jobs that could not start, for their worker has no slot, are out of line until it has one."""

from __future__ import annotations

import threading
import weakref
from collections import defaultdict
from functools import partial
from types import SimpleNamespace

import pytest
from celery.worker import state

from celery_locks.lease import Busy
from celery_locks.stores.base import Look, Waiting
from celery_locks.worker.aside import LOOK, SOON, Aside, Place
from tests.unit.test_door import KEY, Hall

OTHER = "wallet:43"


def dated(number: int, name: str) -> str:
    return f"{1_700_000_000_000_000 + number}-{name}"


class Request:
    """A job's message, as it is when it waits for a slot or has one."""

    def __init__(self, task: str = "bank.withdraw") -> None:
        self.task = SimpleNamespace(name=task)
        self.has_begun = False


class Floor:
    """A worker whose slots are busy or not, and the jobs that wait in it."""

    def __init__(self, *, slots: int = 1) -> None:
        self.hall = Hall()
        self.lines = self.hall.lines
        self.consumer = SimpleNamespace(
            pool=SimpleNamespace(num_processes=slots, limit=1), task_buckets=defaultdict(lambda: None)
        )
        self.aside = Aside(self.consumer, self.hall.clock)
        self.aside._rounds.thread = threading.current_thread()
        self.started: list[str] = []
        self.told: list[Busy] = []
        self.requests: dict[str, Request] = {}
        self.places: dict[str, Place] = {}

    def come(self, ticket: str, key: str = KEY, *, joins: bool = False) -> Place:
        request = self.requests[ticket] = Request()
        joined = self.told.append if joins else None

        def start(ticket: str) -> None:
            assert not request.has_begun
            self.started.append(ticket)

        place = Place(self.hall.guard, Waiting(key, ticket), weakref.ref(request), start, joined)
        self.places[ticket] = place
        self.aside.wait(place)
        return place

    def call(self, ticket: str, date: str = "") -> None:
        """Its turn has come, and it is sent to the pool."""
        self.hall.waker._roll.remove(ticket).call(date or ticket)
        self.aside.begin(self.places[ticket])
        state.reserved_requests.add(self.requests[ticket])

    def begins(self, ticket: str) -> None:
        """It has a slot."""
        self.requests[ticket].has_begun = True

    def ends(self, ticket: str) -> None:
        self.begins(ticket)
        state.reserved_requests.discard(self.requests[ticket])

    def busy(self) -> Request:
        """Another job has the slot as long as this is kept."""
        request = Request("other")
        request.has_begun = True
        state.reserved_requests.add(request)
        return request

    def later(self, seconds: float) -> None:
        self.hall.clock.advance(seconds)
        self.aside._attend()

    def looks(self) -> None:
        """The look that sees that one has begun, and the one after it."""
        self.later(LOOK)
        self.later(LOOK)

    def waits(self) -> list[str]:
        """Who could be called, by when they came."""
        return [each.ticket for each in self.hall.waker._roll.everybody()]

    def left(self) -> list[str]:
        found = [each.ticket for each in self.lines.left]
        self.lines.left.clear()
        return found


@pytest.fixture(autouse=True)
def no_other_work(monkeypatch):
    """Those of other tests may still be about."""
    monkeypatch.setattr(state, "reserved_requests", weakref.WeakSet())


@pytest.fixture
def floor() -> Floor:
    return Floor()


FIRST, SECOND, THIRD = (dated(number, name) for number, name in enumerate(("ann", "bob", "cid")))


@pytest.fixture
def three(floor):
    """Three wait for one key, and the slot is busy."""
    for ticket in (FIRST, SECOND, THIRD):
        floor.come(ticket)
    with_slot = floor.busy()
    yield floor
    assert with_slot.has_begun


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
