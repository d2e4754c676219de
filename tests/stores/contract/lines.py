"""The line of a key."""

from __future__ import annotations

import time

from celery_locks.lease import Busy, Claim
from celery_locks.stores.base import Waiting, Wake
from celery_locks.ticket import Stance
from tests.stores.contract.asking import claim, refused, run_out, take
from tests.stores.contract.joining import JoiningContract
from tests.stores.contract.leaving import LeavingContract
from tests.stores.contract.waiting import (
    LONG,
    Queue,
    ask,
    away,
    called,
    come,
    hearing,
    join,
    joined,
    look,
    passed,
)


class LinesContract(LeavingContract, JoiningContract):
    """For stores that keep a line for each key. Whoever stands in it is called; nobody else may take the key then."""

    def test_whoever_finds_a_key_taken_joins_its_line(self, queue: Queue, store: Queue, key: str) -> None:
        """Each learns its place, and gets a ticket that keeps it: who asks again has the same."""
        take(queue, key, "holder")
        busy = [join(client, key, name) for client, name in ((queue, "a"), (store, "b"), (queue, "c"))]
        assert [(each.holder, each.place, each.present) for each in busy] == [("holder", n, True) for n in (1, 2, 3)]
        assert len({each.ticket for each in busy}) == 3
        again = [join(store, key, name, each.ticket) for name, each in zip("abc", busy, strict=True)]
        assert [each[2:5] for each in again] == [each[2:5] for each in busy]

    def test_without_a_ticket_nobody_joins(self, queue: Queue, key: str) -> None:
        """A plain try is refused, and neither has nor takes a place."""
        take(queue, key, "holder")
        assert refused(queue, key)[2:5] == (None, None, True)
        assert join(queue, key, "a").place == 1
        assert queue.release(claim(key, "holder"))
        refused(queue, key)

    def test_who_waits_only_as_the_next_goes_when_it_is_not(self, queue: Queue, key: str) -> None:
        """The next in line may wait where it asks; any other, and one that has to go, leaves and keeps its ticket."""
        take(queue, key, "holder")
        stances = (("a", Stance.WAITS_IF_NEXT), ("b", Stance.WAITS_IF_NEXT), ("c", Stance.GOES), ("d", Stance.WAITS))
        busy = [join(queue, key, name, stance=stance) for name, stance in stances]
        assert [each.present for each in busy] == [True, False, False, True]
        assert all(each.ticket for each in busy)
        assert [each.place for each in busy] == [1, 2, 3, 2]

    def test_a_released_key_is_kept_for_the_first(self, queue: Queue, store: Queue, key: str) -> None:
        """The first is woken; nobody else may take the key, though nobody holds it; then the first gets it."""
        fence = take(queue, key, "holder").fence
        first, second = joined(store, key, "a", "b")
        with hearing(store) as wake:
            assert queue.release(claim(key, "holder"))
            assert wake() == Wake(key, first, turn=True, window=LONG)
        assert refused(queue, key).holder is None
        assert join(store, key, "fresh").place == 2
        assert join(queue, key, "b", second).place == 1
        lease = come(store, key, "a", first)
        assert lease.fence > fence
        assert refused(queue, key).holder == "owner a"

    def test_all_come_in_the_order_in_which_they_first_asked(self, queue: Queue, store: Queue, key: str) -> None:
        """Whoever asks again meanwhile neither gains nor loses, and each is woken once."""
        take(queue, key, "0")
        names = [str(number) for number in range(1, 12)]
        tickets = joined(queue, key, *names)
        for name, ticket in zip(reversed(names), reversed(tickets), strict=True):
            join(store, key, name, ticket)
        with hearing(store) as wake:
            assert queue.release(claim(key, "0"))
            for name, ticket in zip(names, tickets, strict=True):
                assert wake()[:3] == (key, ticket, True)
                lease = come(queue, key, name, ticket)
                assert store.release(lease.claim)
        take(store, key, "after all")

    def test_whoever_does_not_come_is_passed_over(self, hasty: Queue, key: str) -> None:
        """When its time is over and somebody looks, the next is called; and so on, to the last."""
        take(hasty, key, "holder")
        tickets = joined(hasty, key, "a", "b", "c")
        with hearing(hasty, key) as wake:
            assert hasty.release(claim(key, "holder"))
            for ticket in tickets:
                called_, window = wake()[1:4:2]
                assert called_ == ticket
                assert 0 < look(hasty, key).again <= window
                passed(window)
                look(hasty, key)
        take(hasty, key, "fresh")

    def test_a_later_one_that_asks_moves_the_line_on(self, hasty: Queue, key: str) -> None:
        """When who was called does not come, one further back that asks makes the next called."""
        take(hasty, key, "holder")
        a, b, c = joined(hasty, key, "a", "b", "c")
        with hearing(hasty, key) as wake:
            assert hasty.release(claim(key, "holder"))
            assert wake()[1] == a
            passed(self.brief)
            join(hasty, key, "c", c)
            assert wake()[1] == b
            come(hasty, key, "b", b)
        assert join(hasty, key, "a", a).place == 1

    def test_one_that_was_passed_over_comes_back_to_its_place(self, hasty: Queue, queue: Queue, key: str) -> None:
        """Its ticket tells since when it waits, when it asks as when it is attended to."""
        take(hasty, key, "holder")
        a, b, c, d = joined(hasty, key, "a", "b", "c", "d")
        assert hasty.release(claim(key, "holder"))
        for _ in range(2):
            passed(self.brief)
            look(hasty, key)
        come(hasty, key, "c", c)
        assert join(queue, key, "b", b).place == 1
        assert not called(queue, key, a)
        assert [join(queue, key, name, ticket).place for name, ticket in (("d", d), ("b", b), ("a", a))] == [3, 2, 1]
        assert queue.release(Claim(key, "owner c", 30.0))
        come(queue, key, "a", a)

    def test_one_that_was_called_and_came_late_gets_a_key_that_is_free(self, hasty: Queue, key: str) -> None:
        """Nobody has looked meanwhile: it is still the first."""
        take(hasty, key, "holder")
        (a,) = joined(hasty, key, "a")
        assert hasty.release(claim(key, "holder"))
        passed(self.brief)
        come(hasty, key, "a", a)

    def test_one_that_was_passed_over_may_come_before_the_next_is_called(self, hasty: Queue, key: str) -> None:
        """It first asked before all who wait: a key that is kept for nobody is its own."""
        take(hasty, key, "holder")
        a, b, _ = joined(hasty, key, "a", "b", "c")
        with hearing(hasty, key) as wake:
            assert hasty.release(claim(key, "holder"))
            assert wake()[1] == a
            passed(self.brief)
            look(hasty, key)
            assert wake()[1] == b
        passed(self.brief)
        come(hasty, key, "a", a)

    def test_a_fresh_claim_never_overtakes(self, hasty: Queue, key: str) -> None:
        """A key that is free because nobody has looked goes to the first in line, not to whoever asks first."""
        lease = take(hasty, key, "holder", ttl=1.0)
        a, b = joined(hasty, key, "a", "b")
        run_out(lease)
        with hearing(hasty, key) as wake:
            assert join(hasty, key, "fresh").holder is None
            assert wake()[1] == a
            passed(self.brief)
            refused(hasty, key)
            assert wake()[1] == b

    def test_a_dead_holders_line_moves_on_when_looked_at(self, queue: Queue, key: str) -> None:
        """A lease that ran out wakes nobody; whoever looks is told when to, and the first is called then."""
        lease = take(queue, key, "holder", ttl=1.0)
        (a,) = joined(queue, key, "a")
        assert 0 < look(queue, key).again <= 1.001
        run_out(lease)
        with hearing(queue, key) as wake:
            assert not look(queue, key).turn
            assert wake() == Wake(key, a, turn=True, window=LONG)
        assert called(queue, key, a)

    def test_one_that_has_just_left_is_kept_its_place_for_a_moment(self, store: Queue, key: str) -> None:
        """It may be about to arrive: a fresh claim waits for that, and not longer."""
        take(store, key, "holder")
        began = time.monotonic()
        ticket = away(store, key, "a")
        assert store.release(claim(key, "holder"))
        answer = ask(store, key, "fresh", stance=Stance.GOES)
        # On a machine that paused for so long, it had left long ago.
        if time.monotonic() - began < self.in_flight:
            assert isinstance(answer, Busy)
            come(store, key, "a", ticket)

    def test_one_that_has_just_left_is_before_those_who_came_after_it(self, store: Queue, key: str) -> None:
        """Jobs that came at once are served in their order, also when a later one is the first to be back."""
        take(store, key, "holder")
        began = time.monotonic()
        first = away(store, key, "a")
        (second,) = joined(store, key, "b")
        assert store.release(claim(key, "holder"))
        answers = [ask(store, key, "b", second), look(store, key, first).turn]
        if time.monotonic() - began < self.in_flight:
            assert isinstance(answers[0], Busy)
            assert answers[1]
            assert store.release(come(store, key, "a", first).claim)
            come(store, key, "b", second)

    def test_whoever_arrives_is_before_those_who_came_later(self, queue: Queue, key: str) -> None:
        """One that went away stands where it stood once it is attended to, before all who first asked after it."""
        take(queue, key, "holder")
        a = away(queue, key, "a")
        b = away(queue, key, "b")
        (c,) = joined(queue, key, "c")
        assert [each.turn for each in queue.attend([Waiting(key, b), Waiting(key, a)])] == [False, False]
        assert queue.release(claim(key, "holder"))
        for name, ticket in (("a", a), ("b", b), ("c", c)):
            assert queue.release(come(queue, key, name, ticket).claim)

    def test_the_first_to_arrive_at_a_free_key_is_called(self, queue: Queue, key: str) -> None:
        """It need not wait for a release that was before it came."""
        take(queue, key, "holder")
        a, b = (away(queue, key, name) for name in "ab")
        passed(self.in_flight)
        assert queue.release(claim(key, "holder"))
        looks = queue.attend([Waiting(key, b), Waiting(key, a), Waiting(key, b)])
        assert [each.turn for each in looks] == [True, False, True]
        assert 0 < looks[0].again <= LONG
        come(queue, key, "b", b)

    def test_to_attend_again_changes_nothing(self, queue: Queue, key: str) -> None:
        """However often they are said to be present, in whatever order, each is called once and in its turn."""
        take(queue, key, "holder")
        a, b = joined(queue, key, "a", "b")
        for _ in range(3):
            queue.attend([Waiting(key, b), Waiting(key, a), Waiting(key, "")])
        assert queue.release(claim(key, "holder"))
        looks = queue.attend([Waiting(key, b), Waiting(key, a), Waiting(key, a)])
        assert [each.turn for each in looks] == [False, True, True]
        assert queue.release(come(queue, key, "a", a).claim)
        assert queue.release(come(queue, key, "b", b).claim)
        take(queue, key, "after all")

    def test_one_that_arrives_has_the_whole_window(self, queue: Queue, key: str) -> None:
        """Once it is attended to, it has as long to take the key as any that was called where it stood."""
        take(queue, key, "holder")
        ticket = away(queue, key, "a")
        assert queue.release(claim(key, "holder"))
        assert called(queue, key, ticket)
        passed(self.in_flight)
        refused(queue, key)
        come(queue, key, "a", ticket)
