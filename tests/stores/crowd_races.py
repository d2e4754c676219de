"""The races of several holders of a key, in stores whose claims look who has it, and then join them by a write."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, TypeAlias

import pytest

from celery_locks.lease import Lease, Verdict
from celery_locks.ticket import Ticket
from tests.stores.contract.asking import take, verdict
from tests.stores.contract.crowding import Crowd, alone, enter, owners, part, reader, turned_away
from tests.stores.contract.watchers import LONG, Watched, running
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.lease import Claim

    #: Has something happen once, after a claim has looked and before it joins.
    Between: TypeAlias = Callable[[Callable[[], object]], None]


class WatchedCrowd(Crowd, Watched):
    """A store whose claims are woken, too. Never made."""


FASTER: dict[str, Callable[[Crowd], object]] = {
    "takes the last slot": lambda other: enter(other, part("wallet", "faster", 2)),
    "reads": lambda other: [other.release(part("wallet", "a")), enter(other, reader("wallet", "faster"))],
    "takes it alone": lambda other: [other.release(part("wallet", "a")), take(other, "wallet", "faster")],
    "takes both slots": lambda other: [
        other.release(part("wallet", "a")),
        *(enter(other, part("wallet", f"faster {number}", 2)) for number in range(2)),
    ],
}


def waits(store: Crowd, owner: str) -> None:
    """One that wants the key alone, and waits where it asks."""
    turned_away(store, alone("wallet", owner)._replace(ticket=Ticket(owner)))


@contextlib.contextmanager
def told_to_wait(store: WatchedCrowd, claim: Claim) -> Iterator[list[object]]:
    """One who is turned away, and watches the key for long."""
    asked = threading.Event()

    def watched() -> None:
        turned_away(store, claim)
        asked.set()
        store.watch(claim.key, LONG)

    with running(watched) as ended:
        assert asked.wait(LONG / 2)
        yield ended


class CrowdRaces:
    """For each such store, whose tests have a `before_it_joins`."""

    @pytest.fixture
    def leaves_nothing(self) -> Callable[[], None]:
        """Looks at what is left of a claim that was turned away, besides who has the key."""
        return lambda: None

    @pytest.mark.parametrize("faster", FASTER.values(), ids=FASTER)
    def test_who_was_faster_has_it(
        self,
        store: Crowd,
        other: Crowd,
        before_it_joins: Between,
        leaves_nothing: Callable[[], None],
        faster: Callable[[Crowd], object],
    ) -> None:
        """A claim that saw room, and wrote after another had come, is turned away, though the key was free between."""
        enter(other, part("wallet", "a", 2))
        before_it_joins(lambda: faster(other))
        turned_away(store, part("wallet", "b", 2))
        assert "b" not in owners(other, "wallet")
        leaves_nothing()

    def test_one_that_waits_alone_is_let_in_before_others(self, store: Crowd, other: Crowd) -> None:
        """While it asks again none comes in to share the key; when it had it, or asks no more, they do."""
        lease = enter(store, reader("wallet", "a"))
        waits(other, "writer")
        assert turned_away(store, reader("wallet", "b")).holder == "a"
        assert verdict(store, lease) is Verdict.RENEWED
        waits(other, "writer")
        assert store.release(lease.claim)
        for ask in (reader, part):
            assert turned_away(store, ask("wallet", "b")).holder is None
        writing = take(other, "wallet", "writer")
        assert other.release(writing.claim)
        enter(store, reader("wallet", "b"))
        waits(other, "gone")
        turned_away(store, reader("wallet", "c"))
        wait_until(lambda: isinstance(store.acquire(reader("wallet", "c")), Lease), "who asks no more to be forgotten")


class WatchedCrowdRaces(CrowdRaces):
    """And for those that wake who waits."""

    @pytest.mark.parametrize("waiting", [part("wallet", "c", 2), reader("wallet", "c"), alone("wallet", "c")], ids=str)
    def test_who_waits_for_those_with_slots_is_told(
        self, store: WatchedCrowd, other: WatchedCrowd, waiting: Claim
    ) -> None:
        """One of several that leaves before the watch begins, or while it lasts, ends it."""
        for name in "ab":
            enter(store, part("wallet", name, 2))
        turned_away(other, waiting)
        assert store.release(part("wallet", "a", 2))
        began = time.monotonic()
        other.watch("wallet", LONG)
        assert time.monotonic() < began + LONG / 2
        enter(store, part("wallet", "d", 2))
        with told_to_wait(other, waiting) as ended:
            assert store.release(part("wallet", "b", 2))
            wait_until(lambda: ended, "the watch to end", LONG / 2)
