"""Who joins a line without having asked for its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.stores.base import Waiting, Wake
from celery_locks.ticket import Stance
from tests.stores.contract.asking import claim, refused, take
from tests.stores.contract.waiting import LONG, LineFixtures, Queue, away, called, come, hearing, join, joined, look

if TYPE_CHECKING:
    from celery_locks.stores.base import Look


class JoiningContract(LineFixtures):
    """A job at the door of its worker joins by being attended to, which `LinesContract` brings along."""

    def test_whoever_is_attended_to_without_a_date_joins(self, queue: Queue, key: str) -> None:
        """It has the last place, and learns it with its dated ticket, the holder, and how long the lease lasts."""
        take(queue, key, "holder")
        joined(queue, key, "a")
        gone = away(queue, key, "b")
        looks = queue.attend([Waiting(key, "c"), Waiting(key, "d")])
        busy = [look.busy for look in looks]
        assert [each and each[:1] + each[2:3] for each in busy] == [("holder", 2), ("holder", 3)]
        assert all(each and 0 < (each.remaining or 0) <= 30 for each in busy)
        c, d = (_dated(look) for look in looks)
        assert gone < c < d
        assert not any(look.turn or look.idle for look in looks)
        assert join(queue, key, "e").place == 4
        assert [join(queue, key, name, ticket).place for name, ticket in (("c", c), ("d", d))] == [2, 3]

    def test_those_who_join_in_one_call_stand_as_they_are_named(self, queue: Queue, key: str) -> None:
        """Each has a date of its own, whatever its name."""
        take(queue, key, "holder")
        names = [f"{number * 7 % 40:02}" for number in range(40)]
        looks = queue.attend([Waiting(key, name) for name in names])
        tickets = [_dated(look) for look in looks]
        assert [look.busy and look.busy.place for look in looks] == list(range(1, 41))
        assert tickets == sorted(tickets)
        assert join(queue, key, "later").place == 41
        assert queue.release(claim(key, "holder"))
        for name, ticket in zip(names, tickets, strict=True):
            assert queue.release(come(queue, key, name, ticket).claim)

    def test_one_that_joins_so_twice_keeps_its_place(self, queue: Queue, key: str) -> None:
        """Its first answer was lost, or it says so again: with or without the date it has by now."""
        take(queue, key, "holder")
        first = queue.attend([Waiting(key, "a")])[0]
        queue.attend([Waiting(key, "b")])
        for ticket in ("a", _dated(first)):
            again = queue.attend([Waiting(key, ticket)])[0]
            assert _dated(again) == _dated(first)
        assert queue.release(claim(key, "holder"))
        assert called(queue, key, "a")

    def test_one_that_joins_so_where_nobody_waits_is_called_at_once(self, queue: Queue, key: str) -> None:
        """A free key is kept for it, and for nobody else; behind another it waits."""
        with hearing(queue, key) as wake:
            look_ = queue.attend([Waiting(key, "a")])[0]
            assert look_.turn
            assert 0 < look_.again <= LONG
            assert wake() == Wake(key, _dated(look_), turn=True, window=LONG)
        refused(queue, key)
        assert not look(queue, key, "b").turn
        come(queue, key, "a", _dated(look_))

    def test_one_that_joined_so_comes_with_or_without_its_date(self, queue: Queue, key: str) -> None:
        """It may start before it has heard of its date."""
        take(queue, key, "holder")
        look(queue, key, "a")
        b = _dated(look(queue, key, "b"))
        assert queue.release(claim(key, "holder"))
        for name, ticket in (("a", "a"), ("b", b)):
            assert called(queue, key, ticket)
            assert queue.release(come(queue, key, name, ticket).claim)
        take(queue, key, "after all")

    def test_one_that_joined_so_and_asks_too_early_keeps_its_place(self, queue: Queue, key: str) -> None:
        """Its countdown was over before its turn: it has the date of when it joined, asked for with or without."""
        take(queue, key, "holder")
        a, b = (_dated(look(queue, key, name)) for name in "ab")
        assert join(queue, key, "a").ticket == a
        assert join(queue, key, "b", b, Stance.GOES).ticket == b
        look(queue, key, b)
        assert queue.release(claim(key, "holder"))
        assert queue.release(come(queue, key, "a", a).claim)
        come(queue, key, "b", b)

    def test_one_that_joined_so_leaves_by_its_name(self, queue: Queue, key: str) -> None:
        """It was revoked, or its worker ended, before it heard of its date; what was kept for it is handed on."""
        take(queue, key, "holder")
        for name in "abc":
            look(queue, key, name)
        queue.leave([Waiting(key, "a")])
        assert queue.release(claim(key, "holder"))
        queue.leave([Waiting(key, "b")])
        assert called(queue, key, "c")


def _dated(look: Look) -> str:
    assert look.busy
    assert look.busy.ticket
    return look.busy.ticket
