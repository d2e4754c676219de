"""The roll: who waits here, under which name, and which key is to be looked at when."""

from __future__ import annotations

import pytest

from celery_locks import roll
from celery_locks.roll import Roll, Waiter
from celery_locks.stores.base import Waiting

KEY, OTHER = "wallet:42", "wallet:43"
DATE = "1700000000000000-"


@pytest.fixture(autouse=True)
def _to_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roll, "LATER", 0.0)


def waits(called: Roll, ticket: str, key: str = KEY) -> Waiter:
    waiter = Waiter(Waiting(key, ticket), lambda _: None)
    called.add(waiter)
    return waiter


def test_a_ticket_is_known_with_and_without_its_date():
    """The date comes from the line, after the ticket was written down."""
    called = Roll()
    waiter = waits(called, "ann")
    for ticket in ("ann", f"{DATE}ann"):
        assert called.find(ticket) is waiter
        assert called.has(Waiting(KEY, ticket))
    assert called.remove(f"{DATE}ann") is waiter
    assert called.find("ann") is None


def test_one_who_comes_again_is_there_once():
    """Its second coming takes the place of the first."""
    called = Roll()
    waits(called, "ann")
    second = waits(called, f"{DATE}ann")
    assert called.everybody() == [second.waiting]
    assert called.remove("ann") is second
    assert called.keys == {}


def test_an_empty_ticket_stands_for_a_key():
    """Whether anybody waits for it here."""
    called = Roll()
    waits(called, "ann")
    assert called.has(Waiting(KEY, ""))
    assert not called.has(Waiting(OTHER, ""))
    assert called.find("") is None


def test_who_waits_for_a_key_is_told_apart():
    """Each key has its own, and one that nobody waits for has none."""
    called = Roll()
    waits(called, "ann")
    waits(called, "bob")
    waits(called, "eva", OTHER)
    assert sorted(called.waiting_for(KEY)) == [Waiting(KEY, "ann"), Waiting(KEY, "bob")]
    assert called.waiting_for(OTHER) == [Waiting(OTHER, "eva")]
    assert called.waiting_for("wallet:44") == []


def test_all_are_named_in_the_order_of_their_lines():
    """Whoever was first in line may have come here last; those without a date came here last of all."""
    called = Roll()
    tickets = [f"170000000000000{9 - number}-{number * 7 % 10}" for number in range(9)]
    for ticket in ("zoe", "0bob", *tickets):
        waits(called, ticket)
    expected = [Waiting(KEY, ticket) for ticket in (*reversed(tickets), "zoe", "0bob")]
    assert called.waiting_for(KEY) == expected
    assert called.everybody() == expected


def test_a_key_that_nobody_waits_for_is_not_looked_at():
    """Neither from the beginning, nor when the last has gone, nor for those who came later."""
    called = Roll()
    assert called.look_at(KEY, 5.0) is None
    waits(called, "ann")
    assert called.look_at(KEY, 5.0) == 5.0
    called.remove("ann")
    assert called.next_look() is None
    waits(called, "bob")
    assert called.due(9.0) == []


def test_the_earliest_time_to_look_counts():
    """An old answer that comes late does not put off what a wake said meanwhile; a key is looked at once."""
    called = Roll()
    waits(called, "ann")
    for when in (9.0, 7.0, 8.0):
        called.look_at(KEY, when)
    assert called.next_look() == 7.0
    assert called.due(6.9) == []
    assert called.due(9.0) == [KEY]
    assert called.due(99.0) == []
    assert called.next_look() is None


def test_keys_are_looked_at_in_time():
    """Each at its own time, the soonest first."""
    called = Roll()
    waits(called, "ann")
    waits(called, "eva", OTHER)
    called.look_at(KEY, 8.0)
    called.look_at(OTHER, 7.0)
    assert called.next_look() == 7.0
    assert called.due(7.5) == [OTHER]
    assert called.due(8.0) == [KEY]


def test_workers_look_one_after_the_other(monkeypatch):
    """The time of a look is spread out, and never before what it waits for."""
    monkeypatch.setattr(roll, "LATER", 0.5)
    workers = [Roll() for _ in range(20)]
    for called in workers:
        waits(called, "ann")
    times = [called.look_at(KEY, 5.0) or 0.0 for called in workers]
    assert min(times) >= 5.0
    assert max(times) <= 5.5
    assert len(set(times)) > 1


def test_all_are_struck_off_at_once():
    """And it says who they were."""
    called = Roll()
    waits(called, "ann")
    waits(called, "eva", OTHER)
    called.look_at(KEY, 5.0)
    assert sorted(called.emptied()) == [Waiting(KEY, "ann"), Waiting(OTHER, "eva")]
    assert (called.everybody(), called.keys, called.next_look()) == ([], {}, None)


def test_looks_that_need_not_be_made_do_not_pile_up(monkeypatch):
    """A worker that meets a million keys, each held for hours, remembers those that somebody waits for."""
    monkeypatch.setattr(roll, "STALE", 10)
    called = Roll()
    for number in range(100):
        waits(called, f"t{number}", f"wallet:{number}")
        called.look_at(f"wallet:{number}", 3600.0 + number)
        if number % 50:
            called.remove(f"t{number}")
    assert len(called._looks) <= 2 * 2 + 10
    assert called.due(1e6) == ["wallet:0", "wallet:50"]
