"""Who leaves a line, what is said twice there, and many who wait in one."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import TYPE_CHECKING, ClassVar

from celery_locks.lease import Busy, Claim, Lease
from celery_locks.stores import Inspects
from celery_locks.stores.base import Lines, Waiting
from celery_locks.ticket import Stance, Ticket
from celery_locks.waker import Waker
from tests.judging import Stay, faults, record, recorded
from tests.stores.contract.asking import ODD_KEYS, Opens, claim, take
from tests.stores.contract.waiting import (
    LONG,
    LineFixtures,
    OpensWith,
    Queue,
    ask,
    away,
    called,
    come,
    heard_from,
    hearing,
    join,
    joined,
    passed,
    quiet,
)
from tests.stores.processes import Crew
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


class LeavingContract(LineFixtures):
    """The rest of what a store with lines promises, which `LinesContract` brings along."""

    #: How many processes wait in one line, each woken by the one before it.
    crowd_in_line: ClassVar[int] = 125

    def test_who_leaves_is_not_called(self, queue: Queue, key: str) -> None:
        """It is out of line at once, and so is who leaves twice; the others move up."""
        take(queue, key, "holder")
        a, b, c = joined(queue, key, "a", "b", "c")
        queue.leave([Waiting(key, a), Waiting(key, b), Waiting(key, a)])
        assert join(queue, key, "c", c).place == 1
        assert queue.release(claim(key, "holder"))
        come(queue, key, "c", c)

    def test_who_leaves_after_it_was_called_hands_on(self, queue: Queue, key: str) -> None:
        """What was kept for it is kept for the next from then on, and free after the last."""
        take(queue, key, "holder")
        a, b = joined(queue, key, "a", "b")
        with hearing(queue, key) as wake:
            assert queue.release(claim(key, "holder"))
            assert wake()[1] == a
            queue.leave([Waiting(key, a)])
            assert wake()[1] == b
            queue.leave([Waiting(key, a)])
            assert called(queue, key, b)
            queue.leave([Waiting(key, b)])
        take(queue, key, "plain")

    def test_a_claim_that_was_given_up_leaves(self, queue: Queue, key: str) -> None:
        """A release by who does not hold the key, as after an interrupt, takes its ticket out of line, dated or not."""
        take(queue, key, "holder")
        a, b, c = joined(queue, key, "a", "b", "c")
        assert not queue.release(Claim(key, "owner a", 30.0, ticket=Ticket("a")))
        assert not queue.release(Claim(key, "owner b", 30.0, ticket=Ticket(b)))
        assert join(queue, key, "c", c).place == 1
        assert queue.release(claim(key, "holder"))
        assert not called(queue, key, a)
        assert called(queue, key, c)

    def test_a_first_request_that_is_repeated_joins_once(self, queue: Queue, key: str) -> None:
        """Its answer was lost, so that it has no date yet: it has the place and date it got then."""
        take(queue, key, "holder")
        for stance in Stance:
            first, second = (join(queue, key, f"{stance}", stance=stance) for _ in range(2))
            assert second.ticket == first.ticket
            queue.leave([Waiting(key, first.ticket or "")])
        assert queue.release(claim(key, "holder"))
        take(queue, key, "plain")

    def test_a_holder_that_asks_again_keeps_its_lease(self, queue: Queue, key: str) -> None:
        """It does not join the line behind those who wait for it."""
        take(queue, key, "holder")
        (a,) = joined(queue, key, "a")
        assert queue.release(claim(key, "holder"))
        lease = come(queue, key, "a", a)
        (b,) = joined(queue, key, "b")
        for ticket in ("a", a):
            assert come(queue, key, "a", ticket).fence == lease.fence
        assert queue.release(lease.claim)
        come(queue, key, "b", b)

    def test_a_repeated_release_does_not_call_twice(self, queue: Queue, key: str) -> None:
        """The one that was called stays the one that was called."""
        take(queue, key, "holder")
        a, b = joined(queue, key, "a", "b")
        with contextlib.closing(queue.listen()) as listening:
            assert queue.release(claim(key, "holder"))
            assert heard_from(listening, key).ticket == a
            queue.release(claim(key, "holder"))
            queue.release(claim(key, "stranger"))
            assert quiet(listening, queue, key)
        assert called(queue, key, a)
        lease = come(queue, key, "a", a)
        queue.release(claim(key, "holder"))
        assert not called(queue, key, b)
        assert queue.release(lease.claim)
        assert called(queue, key, b)

    def test_a_key_that_is_kept_is_held_by_nobody(self, queue: Queue, key: str) -> None:
        """It is shown as free, cannot be forced, and who was called still gets it; what is forced is handed on."""
        if not isinstance(queue, Inspects):
            return
        take(queue, key, "holder")
        a, b = joined(queue, key, "a", "b")
        assert queue.force_release(key)
        assert queue.inspect(key) is None
        assert list(queue.list()) == []
        assert not queue.force_release(key)
        come(queue, key, "a", a)
        assert queue.force_release(key)
        come(queue, key, "b", b)

    def test_one_that_left_and_does_not_come_is_passed_by(self, queue: Queue, key: str) -> None:
        """Its place is kept for a moment only, however long the claim window is."""
        take(queue, key, "holder")
        away(queue, key, "a")
        assert queue.release(claim(key, "holder"))
        wait_until(lambda: isinstance(queue.acquire(claim(key, "plain")), Lease), "the one that left to be passed by")

    def test_those_long_away_hold_nobody_up(self, queue: Queue, key: str) -> None:
        """They come whenever they come: a fresh claim takes a free key at once, and who comes back gets it at once."""
        take(queue, key, "holder")
        tickets = {name: away(queue, key, name) for name in "abc"}
        passed(self.in_flight)
        assert queue.release(claim(key, "holder"))
        take(queue, key, "plain")
        assert queue.release(claim(key, "plain"))
        come(queue, key, "fresh")
        assert queue.release(Claim(key, "owner fresh", 30.0))
        come(queue, key, "c", tickets["c"])

    def test_what_was_kept_ends(self, hasty: Queue, key: str) -> None:
        """When the only one in line does not come, the key is free for all."""
        take(hasty, key, "holder")
        joined(hasty, key, "a")
        assert hasty.release(claim(key, "holder"))
        passed(self.brief)
        take(hasty, key, "plain")

    def test_any_text_is_a_key_with_a_line(self, queue: Queue, store: Queue) -> None:
        """A wake names the key letter by letter."""
        with contextlib.closing(store.listen()) as listening:
            for odd in ODD_KEYS.values():
                take(queue, odd, "holder")
                (a,) = joined(queue, odd, "a")
                assert store.release(claim(odd, "holder"))
                assert heard_from(listening, odd)[:3] == (odd, a, True)
                come(queue, odd, "a", a)

    def test_lines_are_apart(self, queue: Queue, open_store: Opens, key: str) -> None:
        """Who waits for one key is not called for another, nor for the same key under another prefix."""
        with contextlib.closing(open_store(prefix=f"{queue.prefix}a:")) as second:
            for store, name in ((queue, key), (queue, f"{key}:line"), (second, key)):
                take(store, name, "holder")
            assert isinstance(second, Lines)
            a, b, c = (join(queue, key, "a"), join(queue, f"{key}:line", "a"), join(second, key, "a"))
            with contextlib.closing(queue.listen()) as listening, hearing(second, key) as wake:
                assert second.release(claim(key, "holder"))
                assert wake()[1] == c.ticket
                assert quiet(listening, queue, key)
            assert not called(queue, key, a.ticket or "")
            assert queue.release(claim(f"{key}:line", "holder"))
            assert called(queue, f"{key}:line", b.ticket or "")

    def test_many_lines_are_attended_to_and_left_at_once(self, queue: Queue, key: str) -> None:
        """One call says of each of many who wait whether it was called, and one takes them all out of line."""
        keys = [f"{key}:{number}" for number in range(1200)]
        waiting = []
        for number, each in enumerate(keys):
            take(queue, each, "holder")
            waiting.append(Waiting(each, join(queue, each, f"{number}").ticket or ""))
        for number in (0, 7, 1199):
            assert queue.release(claim(keys[number], "holder"))
        assert [number for number, look in enumerate(queue.attend(waiting)) if look.turn] == [0, 7, 1199]
        queue.leave(waiting)
        assert not any(look.turn for look in queue.attend([Waiting(each, "") for each in keys]))
        assert queue.attend([]) == []
        queue.leave([])
        take(queue, keys[7], "plain")

    def test_a_crowd_is_served_in_order(self, open_with: OpensWith, queue: Queue, key: str, tmp_path: Path) -> None:
        """Many processes, each woken by the one before it: one at a time, in the order in which they first asked."""
        take(queue, key, "holder", ttl=300)
        with Crew() as crew:
            for number in range(self.crowd_in_line):
                crew.start(_wait_in_line, open_with, key, f"waiter{number}", tmp_path)
            wait_until(lambda: len(list(tmp_path.glob("*.joined"))) == self.crowd_in_line, "all to be in line", 90)
            assert queue.release(claim(key, "holder"))
            crew.done()
        stays = recorded(tmp_path)
        assert len(stays) == self.crowd_in_line
        assert faults(stays) == []
        tickets = [stay.owner for stay in stays]
        assert tickets == sorted(tickets)
        take(queue, key, "plain")


def _wait_in_line(open_with: OpensWith, key: str, name: str, folder: Path) -> None:
    with contextlib.closing(open_with(LONG)) as store:
        waker, ticket = Waker(store), name
        while isinstance(answer := ask(store, key, name, ticket), Busy):
            ticket = answer.ticket or ticket
            _be_called(waker, Waiting(key, ticket), folder / f"{name}.joined")
        begin = time.monotonic()
        time.sleep(random.uniform(0, 0.003))
        stay = Stay(begin, time.monotonic(), answer.fence, ticket)
        assert store.release(answer.claim)
        record(folder, stay)


def _be_called(waker: Waker, waiting: Waiting, joined: Path) -> None:
    woken = threading.Event()
    waker.wait(waiting, lambda _: woken.set())
    joined.touch()
    # A wake may be lost: then it looks itself.
    woken.wait(5)
    waker.forget(waiting.ticket)
